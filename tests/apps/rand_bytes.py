# SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
"""rand_bytes.py COUNT: call ssl.RAND_bytes(16) COUNT times and print how long the calls took.

Each call makes OpenSSL's fork check ask getpid(). The bytes are random, so they are checked, not compared: right
lengths, no value twice, and after a fork the child's values differ from the parent's (a stale pid would make them
the same). Prints one line of JSON: {"operations": COUNT, "seconds": S, "digest": null}.
"""

import json
import os
import sys
from ssl import RAND_bytes
from time import perf_counter

LENGTH = 16
CHUNK = 10_000


def check(values: list[bytes]) -> None:
    if any(len(value) != LENGTH for value in values):
        sys.exit("rand_bytes: a value has the wrong length")
    if len(set(values)) != len(values):
        sys.exit("rand_bytes: a value came twice")


def generate(count: int) -> float:
    """Make `count` calls, check what came, return the seconds that the calls alone took."""
    seconds = 0.0
    for done in range(0, count, CHUNK):
        calls = range(min(CHUNK, count - done))
        start = perf_counter()
        values = [RAND_bytes(LENGTH) for _ in calls]
        seconds += perf_counter() - start
        check(values)
    return seconds


def check_fork() -> None:
    """Draw the same number of values in parent and child after a fork: all must differ."""
    draws = 100
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"".join(RAND_bytes(LENGTH) for _ in range(draws)))
        os._exit(0)
    os.close(writer)
    values = [RAND_bytes(LENGTH) for _ in range(draws)]
    with os.fdopen(reader, "rb") as pipe:
        drawn = pipe.read()
    os.waitpid(child, 0)
    if len(drawn) != draws * LENGTH:
        sys.exit("rand_bytes: the forked child failed")
    theirs = [drawn[at : at + LENGTH] for at in range(0, len(drawn), LENGTH)]
    if set(values) & set(theirs):
        sys.exit("rand_bytes: parent and child drew the same bytes after a fork: the fork was not seen")


def main() -> None:
    count = int(sys.argv[1])
    seconds = generate(count)
    check_fork()
    print(json.dumps({"operations": count, "seconds": seconds, "digest": None}))


main()
