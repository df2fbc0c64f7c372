# SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
"""lmdb_reads.py COUNT DIRECTORY: make COUNT py-lmdb read transactions of one get each and print how long they took.

py-lmdb 1.7.5 asks getpid() at each `begin`, to see whether the environment went through a fork. The database is small
and always the same, made in the empty DIRECTORY, so the digest of what was read is the same in each run.
Prints one line of JSON: {"operations": COUNT, "seconds": S, "digest": "SHA256"}.
"""

import json
import sys
from hashlib import sha256
from time import perf_counter

import lmdb

KEYS = 1_000
CHUNK = 10_000


def fill(env: lmdb.Environment) -> list[bytes]:
    keys = [b"key %06d" % number for number in range(KEYS)]
    with env.begin(write=True) as txn:
        for key in keys:
            txn.put(key, sha256(key).digest())
    return keys


def read(env: lmdb.Environment, keys: list[bytes]) -> list[bytes | None]:
    values = []
    for key in keys:
        with env.begin() as txn:
            values.append(txn.get(key))
    return values


def main() -> None:
    count, directory = int(sys.argv[1]), sys.argv[2]
    digest = sha256()
    seconds = 0.0
    with lmdb.open(directory, map_size=1 << 24, sync=False) as env:
        keys = fill(env) * (CHUNK // KEYS)
        for done in range(0, count, CHUNK):
            chunk = keys[: count - done]
            start = perf_counter()
            values = read(env, chunk)
            seconds += perf_counter() - start
            if None in values:
                sys.exit("lmdb_reads: a key was not found")
            digest.update(b"".join(values))
    print(json.dumps({"operations": count, "seconds": seconds, "digest": digest.hexdigest()}))


main()
