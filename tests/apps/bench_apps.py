# SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
"""Real programs with and without libbysyscall.so, in turn: how much faster is each, and is its output the same?

    python3 tests/apps/bench_apps.py --library target/release/libbysyscall.so [--rounds 10] [--seconds 1] [--json]

Each workload, in this order:
  1. A calibration without the library: how many operations fill the time. It must not be bypassed already.
  2. An untimed run with the library and BYSYSCALL_LOG=info: the calls must be bypassed. (That log costs a little.)
  3. The rounds: one run without and one with the library, the order turned at each round (ABBA), so that a machine
     that gets slower or faster favours neither. A round gives one ratio, with / without; above 1 the library gains.
  4. Step 2 again, in case the service was stopped meanwhile, and where `perf` works the real calls as the kernel
     counts them, without and with the library.
Exits 1 if a run fails, a digest differs or the calls are not bypassed; 2 if something that it needs is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

HERE = Path(__file__).resolve().parent
TARGET = HERE.parents[1] / "target"
SETUP = HERE / "setup.sh"
DRBG = TARGET / "bench-apps" / "drbg"
VENV_PYTHON = TARGET / "bench-venv" / "bin" / "python"
SYSTEM_PYTHON = Path("/usr/bin/python3")
OPENSSL = Path("/usr/bin/openssl")

REQUEST_BYTES = 16
CALIBRATION_OPERATIONS = 200_000
# Each operation of each workload asks getpid() once. A few may be real calls, by the library's design; not many.
BYPASSED_AT_LEAST = 0.9


class Missing(Exception):
    """Something that the benchmark needs is not there; the message says what to do."""


class Failure(Exception):
    """A workload's run failed, or showed that the library is not right or not at work."""


class NotBypassed(Failure):
    """The library was preloaded, but the calls were real."""


@dataclass(frozen=True)
class Run:
    """One run of a program. `digest` is None where the output is random."""

    operations: int
    seconds: float
    digest: str | None
    stderr: str

    @property
    def rate(self) -> float:
        return self.operations / self.seconds


@dataclass(frozen=True)
class Size:
    """How much a run does: most programs make `operations`, `openssl speed` goes on for `seconds`."""

    operations: int
    seconds: int


@dataclass(frozen=True)
class Workload:
    name: str
    unit: str
    units_per_operation: float
    output: str  # what the output column says when all went well
    needs: tuple[Path, ...]
    command: Callable[[Size, Path], list[str]]  # the second argument: an empty directory
    parse: Callable[[str, str], Run]  # of standard output and standard error


def parse_report(stdout: str, stderr: str) -> Run:
    """The line of JSON that drbg.c, rand_bytes.py and lmdb_reads.py print."""
    report = json.loads(stdout)
    return Run(int(report["operations"]), float(report["seconds"]), report["digest"], stderr)


def parse_openssl_speed(stdout: str, stderr: str) -> Run:
    """`openssl speed -mr` reports `+R:OPERATIONS:rand:SECONDS` to standard error."""
    found = re.search(r"^\+R:(\d+):rand:([\d.]+)$", stdout + stderr, re.MULTILINE)
    if not found:
        raise ValueError("no +R line")
    return Run(int(found[1]), float(found[2]), None, stderr)


WORKLOADS = (
    Workload(
        name="openssl-speed",
        unit="MB/s",
        units_per_operation=REQUEST_BYTES / 1e6,
        output="random",
        needs=(OPENSSL,),
        # -elapsed: by default it divides by the user CPU time, which leaves out the system calls.
        command=lambda size, scratch: [
            *(str(OPENSSL), "speed", "-mr", "-elapsed"),
            *("-seconds", str(size.seconds), "-bytes", str(REQUEST_BYTES), "rand"),
        ],
        parse=parse_openssl_speed,
    ),
    Workload(
        name="openssl-drbg",
        unit="MB/s",
        units_per_operation=REQUEST_BYTES / 1e6,
        output="same",
        needs=(DRBG,),
        command=lambda size, scratch: [str(DRBG), str(size.operations)],
        parse=parse_report,
    ),
    Workload(
        name="python-ssl",
        unit="k calls/s",
        units_per_operation=1e-3,
        output="checked",
        needs=(SYSTEM_PYTHON,),
        command=lambda size, scratch: [str(SYSTEM_PYTHON), "-I", str(HERE / "rand_bytes.py"), str(size.operations)],
        parse=parse_report,
    ),
    Workload(
        name="py-lmdb",
        unit="k txn/s",
        units_per_operation=1e-3,
        output="same",
        needs=(VENV_PYTHON,),
        command=lambda size, scratch: [
            *(str(VENV_PYTHON), "-I", str(HERE / "lmdb_reads.py")),
            *(str(size.operations), str(scratch)),
        ],
        parse=parse_report,
    ),
)


# Running a program


def environment(library: Path | None, log: bool = False) -> dict[str, str]:
    """This process's environment, with the library before whatever LD_PRELOAD holds already."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("BYSYSCALL_")}
    if library:
        env["LD_PRELOAD"] = ":".join(filter(None, (str(library), env.get("LD_PRELOAD"))))
    if log:
        env["BYSYSCALL_LOG"] = "info"
    return env


def execute(command: Sequence[str], env: dict[str, str], timeout: float) -> tuple[str, str]:
    """Run the command in a session of its own, so that nothing of it survives this process; return what it printed."""
    process = subprocess.Popen(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):  # it may have just ended
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise Failure(f"not done after {timeout:.0f} s: {' '.join(command)}") from None
        raise
    if process.returncode != 0:
        how = f"exit code {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
        said = "\n    ".join(stderr.strip().splitlines()[-5:]) or "(nothing on standard error)"
        raise Failure(f"{how} from: {' '.join(command)}\n    {said}")
    return stdout, stderr


def run(workload: Workload, size: Size, env: dict[str, str], prefix: Sequence[str] = ()) -> Run:
    with tempfile.TemporaryDirectory(prefix="bench-apps-", dir=TARGET) as scratch:
        command = [*prefix, *workload.command(size, Path(scratch))]
        stdout, stderr = execute(command, env, timeout=60 + 20 * size.seconds)
    try:
        result = workload.parse(stdout, stderr)
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(f"cannot read the output of: {' '.join(command)} ({error})\n    {stdout[-200:]!r}") from None
    if result.operations <= 0 or result.seconds <= 0:
        raise Failure(f"measured nothing: {' '.join(command)}")
    return result


# Who counts the calls: the library, and the kernel


def bypassed_calls(stderr: str) -> int:
    """The sum of the library's `getpid: bypassed 123 times` (a forked child may print its own)."""
    return sum(int(count) for count in re.findall(r"\bgetpid: bypassed (\d+) times?\b", stderr))


def run_logged(workload: Workload, size: Size, library: Path) -> tuple[Run, int]:
    """An untimed run with the library, which must say that it bypassed the calls."""
    result = run(workload, size, environment(library, log=True))
    bypassed = bypassed_calls(result.stderr)
    if bypassed < BYPASSED_AT_LEAST * result.operations:
        said = "".join(f"\n    {line}" for line in result.stderr.splitlines() if re.search(r"bysyscall|ld\.so", line))
        raise NotBypassed(f"{bypassed:,} getpid calls bypassed in {result.operations:,} operations{said}")
    return result, bypassed


class KernelCounter:
    """Counts the getpid calls that reach the kernel, by `perf stat`: under strace the library makes real calls."""

    EVENT = "syscalls:sys_enter_getpid"

    def __init__(self) -> None:
        self._perf = shutil.which("perf")

    def per_operation(self, workload: Workload, size: Size, library: Path | None) -> float | None:
        """Real calls an operation in an untimed run; None where perf is missing or may not count."""
        if not self._perf:
            return None
        with tempfile.TemporaryDirectory(prefix="bench-apps-", dir=TARGET) as directory:
            report = Path(directory) / "perf.csv"
            stat = [self._perf, "stat", "-x,", "-o", str(report), "-e", self.EVENT, "--"]
            try:
                execute([*stat, "true"], environment(None), timeout=60)
                self._read(report)
            except (Failure, OSError, ValueError):
                self._perf = None
                return None
            # The library is for the program alone, not for perf: `env` sets it between the two.
            preload = [f"LD_PRELOAD={environment(library)['LD_PRELOAD']}"] if library else []
            result = run(workload, size, environment(None), prefix=[*stat, "env", *preload])
            try:
                return self._read(report) / result.operations
            except ValueError:
                return None

    @staticmethod
    def _read(report: Path) -> int:
        for line in report.read_text().splitlines():
            if KernelCounter.EVENT in line:
                return int(line.split(",")[0])
        raise ValueError("perf counted nothing")


# Measuring


@dataclass(frozen=True)
class Outcome:
    workload: Workload
    without: list[float]  # rates in the workload's unit, one a round
    with_library: list[float]
    bypassed: float  # calls an operation, as the library counts
    real_without: float | None  # calls an operation, as the kernel counts
    real_with: float | None

    @property
    def ratios(self) -> list[float]:
        return [b / a for a, b in zip(self.without, self.with_library, strict=True)]

    @property
    def quartiles(self) -> tuple[float, float]:
        first, _, third = statistics.quantiles(self.ratios, n=4, method="inclusive")
        return first, third


def show_progress(text: str, passing: bool = False) -> None:
    """A line on standard error; a passing one only on a terminal, where the next overwrites it."""
    terminal = sys.stderr.isatty()
    if terminal or not passing:
        start, end = ("\r\033[K", "") if terminal else ("", "\n")
        print(start + text, end=end if passing else "\n", file=sys.stderr, flush=True)


def calibrate(workload: Workload, seconds: int) -> Size:
    """Find how many operations fill `seconds` without the library, and make sure that it is not at work already."""
    first = run(workload, Size(CALIBRATION_OPERATIONS, 1), environment(None, log=True))
    if bypassed_calls(first.stderr):
        raise Missing(
            "a run without --library is bypassed already, so there is nothing to compare with; "
            "take libbysyscall.so out of LD_PRELOAD or /etc/ld.so.preload first"
        )
    return Size(max(10_000, round(first.rate * seconds / 10_000) * 10_000), seconds)


def measure(workload: Workload, library: Path, rounds: int, seconds: int, kernel: KernelCounter) -> Outcome:
    show_progress(f"{workload.name}: {rounds} rounds of {seconds} s without and {seconds} s with the library")
    size = calibrate(workload, seconds)
    logged, _ = run_logged(workload, size, library)
    digests: dict[Path | None, set[str | None]] = {None: set(), library: {logged.digest}}
    rates: dict[Path | None, list[float]] = {None: [], library: []}
    for number in range(rounds):
        show_progress(f"{workload.name}: round {number + 1} of {rounds}", passing=True)
        for preload in (None, library) if number % 2 == 0 else (library, None):
            result = run(workload, size, environment(preload))
            rates[preload].append(result.rate * workload.units_per_operation)
            digests[preload].add(result.digest)

    show_progress(f"{workload.name}: counting calls", passing=True)
    logged, bypassed = run_logged(workload, size, library)
    digests[library].add(logged.digest)
    if len(digests[None] | digests[library]) != 1:
        without, with_library = (", ".join(sorted(map(str, digests[preload]))) for preload in (None, library))
        raise Failure(f"the outputs differ\n    digest without the library: {without}\n    with it: {with_library}")

    real_without = kernel.per_operation(workload, size, None)
    real_with = kernel.per_operation(workload, size, library)
    if real_with is not None and real_with > 1 - BYPASSED_AT_LEAST:
        raise NotBypassed(f"the kernel saw {real_with:.2f} getpid calls an operation with the library")
    return Outcome(workload, rates[None], rates[library], bypassed / logged.operations, real_without, real_with)


# Reporting


def table(outcomes: Sequence[Outcome]) -> str:
    def calls(count: float | None) -> str:
        return "?" if count is None else f"{count:.2f}"

    rows = [
        ("", "", "median", "median", "ratio", "ratio", "ratio", "getpid/op", "getpid/op", ""),
        ("workload", "unit", "without", "with", "median", "min-max", "quartiles", "bypassed", "real", "output"),
    ]
    for outcome in outcomes:
        ratios, (first, third) = outcome.ratios, outcome.quartiles
        rows.append(
            (
                outcome.workload.name,
                outcome.workload.unit,
                f"{statistics.median(outcome.without):.1f}",
                f"{statistics.median(outcome.with_library):.1f}",
                f"{statistics.median(ratios):.2f}",
                f"{min(ratios):.2f}-{max(ratios):.2f}",
                f"{first:.2f}-{third:.2f}",
                calls(outcome.bypassed),
                f"{calls(outcome.real_without)} > {calls(outcome.real_with)}",
                outcome.workload.output,
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = {0, 1, 9}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at in left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


LEGEND = """ratio = with / without in the same round, the order of the two turned each round; above 1 the library gains
getpid/op: calls an operation; bypassed = as the library counts them; real = as the kernel does, without > with the
library (? = no perf here, or it may not count)
output: same = one digest in all runs; checked = random, but well formed and other bytes after a fork; random = not
checked"""


def as_json(outcomes: Sequence[Outcome], failures: dict[str, str], rounds: int, seconds: int) -> str:
    def workload(outcome: Outcome) -> dict[str, object]:
        ratios, (first, third) = outcome.ratios, outcome.quartiles
        return {
            "name": outcome.workload.name,
            "unit": outcome.workload.unit,
            "without": {"median": statistics.median(outcome.without), "rounds": outcome.without},
            "with": {"median": statistics.median(outcome.with_library), "rounds": outcome.with_library},
            "ratio": {
                "median": statistics.median(ratios),
                "min": min(ratios),
                "max": max(ratios),
                "first_quartile": first,
                "third_quartile": third,
                "rounds": ratios,
            },
            "getpid_per_operation": {
                "bypassed": outcome.bypassed,
                "real_without": outcome.real_without,
                "real_with": outcome.real_with,
            },
            "output": outcome.workload.output,
        }

    return json.dumps(
        {
            "rounds": rounds,
            "seconds": seconds,
            "workloads": [workload(outcome) for outcome in outcomes],
            "failures": failures,
        },
        indent=2,
    )


# The command line


def check_library(path: Path) -> Path:
    library = path.resolve()
    if not library.is_file():
        raise Missing(f"{path}: no such library; build it first: make")
    if re.search(r"[\s:]", str(library)):
        raise Missing(f"{library}: ld.so splits LD_PRELOAD at blanks and colons; move the library to another path")
    return library


def check_needs(workloads: Sequence[Workload]) -> None:
    missing = [str(path) for workload in workloads for path in workload.needs if not os.access(path, os.X_OK)]
    if missing:
        raise Missing(f"missing: {', '.join(missing)}; as root, run: {os.path.relpath(SETUP)}")
    source = HERE / "drbg.c"
    if any(DRBG in workload.needs for workload in workloads) and DRBG.stat().st_mtime < source.stat().st_mtime:
        raise Missing(f"{DRBG} is older than its source; run: {os.path.relpath(SETUP)}")


def at_least(minimum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text)
        if number < minimum:
            raise argparse.ArgumentTypeError(f"at least {minimum}")
        return number

    parse.__name__ = "number"  # argparse names it: invalid number value
    return parse


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure real programs with and without libbysyscall.so, in turn.")
    parser.add_argument("--library", type=Path, default=TARGET / "release" / "libbysyscall.so", metavar="FILE")
    parser.add_argument("--rounds", type=at_least(2), default=10, metavar="N", help="default: 10")
    parser.add_argument("--seconds", type=at_least(1), default=1, metavar="N", help="length of a run; default: 1")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--only",
        action="append",
        choices=[workload.name for workload in WORKLOADS],
        help="measure this workload alone (may be repeated)",
    )
    return parser.parse_args()


def stop_on_signal(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> int:
    args = arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop_on_signal)
    workloads = [workload for workload in WORKLOADS if not args.only or workload.name in args.only]
    kernel = KernelCounter()
    outcomes: list[Outcome] = []
    failures: dict[str, str] = {}
    not_bypassed = 0
    try:
        library = check_library(args.library)
        check_needs(workloads)
        for workload in workloads:
            try:
                outcomes.append(measure(workload, library, args.rounds, args.seconds, kernel))
            except Failure as error:
                failures[workload.name] = str(error)
                not_bypassed += isinstance(error, NotBypassed)
    except Missing as error:
        show_progress("", passing=True)
        print(f"bench_apps: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        show_progress("", passing=True)
        print("bench_apps: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT

    show_progress("", passing=True)
    if args.json:
        print(as_json(outcomes, failures, args.rounds, args.seconds))
    elif outcomes:
        print(f"{args.rounds} rounds, {args.seconds} s a run\n\n{table(outcomes)}\n\n{LEGEND}")
    for name, reason in failures.items():
        print(f"bench_apps: {name}: {reason}", file=sys.stderr)
    if not_bypassed:
        print(
            "bench_apps: the calls were not bypassed. Is the service running? As root: "
            f"{os.path.relpath(library.with_name('bysyscall'))} start (its `status` tells why a wrapper is off)",
            file=sys.stderr,
        )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
