# SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
"""time_report.py DIRECTORY: compile a large C++ file with `g++ -O2 -ftime-report` and print how long that took.

For its report cc1plus asks times() at each change between parts of the compiler, millions of times. The file is
always the same, made in the empty DIRECTORY, so the digest of the object is the same in each run. What the report
says of the user time must agree with what the kernel counted.
Prints one line of JSON: {"operations": 1, "seconds": S, "digest": "SHA256", "cpu": S}; cpu is what the report says.
"""

import json
import os
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from time import perf_counter

FUNCTIONS = 14
DIFFER_AT_MOST = 0.3

INCLUDES = """#include <map>
#include <regex>
#include <string>
#include <vector>
"""
FUNCTION = """
template <int N> struct Key@ {
    std::string text;

    bool operator<(const Key@ &other) const
    {
        return text.size() * N < other.text.size() * N || text < other.text;
    }
};

int count@(const std::vector<std::string> &lines)
{
    static const std::regex pattern("([a-z]+)@=([0-9]+)");
    std::map<Key@<@>, std::vector<int>> found;
    for (const auto &line : lines) {
        std::smatch match;
        if (std::regex_search(line, match, pattern))
            found[{match[1]}].push_back(std::stoi(match[2]));
    }
    int sum = 0;
    for (const auto &[key, values] : found)
        sum += static_cast<int>(key.text.size() * values.size());
    return sum;
}
"""


def main() -> None:
    directory = Path(sys.argv[1])
    source = INCLUDES + "".join(FUNCTION.replace("@", str(number)) for number in range(1, FUNCTIONS + 1))
    (directory / "large.cc").write_text(source)
    command = ["g++", "-std=c++17", "-O2", "-ftime-report", "-c", "large.cc", "-o", "large.o"]
    start = perf_counter()
    gxx = subprocess.run(
        command, cwd=directory, env={**os.environ, "TMPDIR": str(directory)}, stderr=subprocess.PIPE, text=True
    )
    seconds = perf_counter() - start
    sys.stderr.write(gxx.stderr)
    if gxx.returncode != 0:
        sys.exit(f"time_report: exit code {gxx.returncode} from: {' '.join(command)}")

    total = re.search(r"^ TOTAL +: +([\d.]+) +([\d.]+) ", gxx.stderr, re.MULTILINE)
    if not total:
        sys.exit("time_report: no TOTAL in the report")
    user, system = map(float, total.groups())
    counted = getrusage(RUSAGE_CHILDREN).ru_utime
    if abs(user - counted) > DIFFER_AT_MOST * counted:
        sys.exit(f"time_report: the report says {user:.2f} s of user time, the kernel {counted:.2f} s")
    digest = sha256((directory / "large.o").read_bytes()).hexdigest()
    print(json.dumps({"operations": 1, "seconds": seconds, "digest": digest, "cpu": user + system}))


main()
