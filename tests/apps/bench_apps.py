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
What programs report of their own CPU time must agree between the two.
Exits 1 if a run fails, a digest differs, CPU times disagree or the calls are not bypassed; 2 if something that it
needs is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar

Result = TypeVar("Result")

HERE = Path(__file__).resolve().parent
TARGET = HERE.parents[1] / "target"
SETUP = HERE / "setup.sh"
DRBG = TARGET / "bench-apps" / "drbg"
VENV_PYTHON = TARGET / "bench-venv" / "bin" / "python"
SYSTEM_PYTHON = Path("/usr/bin/python3")
OPENSSL = Path("/usr/bin/openssl")
DB_BENCH = Path("/usr/bin/db_bench")
GXX = Path("/usr/bin/g++")
SHARED_MEMORY = Path("/dev/shm")

REQUEST_BYTES = 16
CALIBRATION_OPERATIONS = 200_000
# A few of a workload's calls may be real calls, by the library's design; not many.
BYPASSED_AT_LEAST = 0.9
# What a program reports of its CPU time without and with the library: beyond what it saved, or the runs differ.
CPU_DIFFERS_AT_MOST = 0.3


class Missing(Exception):
    """Something that the benchmark needs is not there; the message says what to do."""


class Failure(Exception):
    """A workload's run failed, or showed that the library is not right or not at work."""


class NotBypassed(Failure):
    """The library was preloaded, but the calls were real."""


@dataclass(frozen=True)
class Run:
    """One run of a program. `digest` is None where the output is random, `cpu` where it tells no CPU time."""

    operations: int
    seconds: float
    digest: str | None
    stderr: str
    cpu: float | None = None  # seconds, as the program reports
    kernel_cpu: float = 0.0  # seconds, as the kernel counts; start and end included

    @property
    def rate(self) -> float:
        return self.operations / self.seconds


@dataclass(frozen=True)
class Size:
    """How much a run does: most programs make `operations`, `openssl speed` goes on for `seconds`, g++ is as it is."""

    operations: int
    seconds: int


@dataclass(frozen=True)
class Workload:
    name: str
    unit: str
    units_per_operation: float
    output: str  # what the output column says when all went well
    needs: tuple[Path, ...]
    command: Callable[[Size, Path], list[str]]  # the second argument: an empty directory, or what `prepare` made
    parse: Callable[[str, str], Run]  # of standard output and standard error
    function: str = "getpid"  # whose calls are counted
    calls: float = 1  # of it in an operation, at least; 0: none need be bypassed
    aim: float | None = None  # at least this ratio
    prepare: Callable[[Path], Sequence[list[str]]] | None = None  # commands that fill an empty directory, once


def parse_report(stdout: str, stderr: str) -> Run:
    """The line of JSON that drbg.c, rand_bytes.py, lmdb_reads.py and time_report.py print."""
    report = json.loads(stdout)
    return Run(int(report["operations"]), float(report["seconds"]), report["digest"], stderr, report.get("cpu"))


def parse_openssl_speed(stdout: str, stderr: str) -> Run:
    """`openssl speed -mr` reports `+R:OPERATIONS:rand:SECONDS` to standard error."""
    found = re.search(r"^\+R:(\d+):rand:([\d.]+)$", stdout + stderr, re.MULTILINE)
    if not found:
        raise ValueError("no +R line")
    return Run(int(found[1]), float(found[2]), None, stderr)


def db_bench(database: Path, *options: str) -> list[str]:
    """The seed makes it read the same keys in each run."""
    return [
        *(str(DB_BENCH), f"--db={database}", "--num=200000", "--value_size=100", "--compression_type=none"),
        *("--seed=1", *options),
    ]


def fill_database(database: Path) -> list[list[str]]:
    """The read moves what was written from RocksDB's log to a table; else the first run would."""
    return [
        db_bench(database, "--benchmarks=fillrandom"),
        db_bench(database, "--use_existing_db=1", "--benchmarks=readrandom", "--reads=1"),
    ]


def parse_db_bench(stdout: str, stderr: str) -> Run:
    """`readrandom : 5.1 micros/op 195145 ops/sec 1.0 seconds 200000 operations; 13.6 MB/s (126037 of 200000 found)`

    and from --perf_level=2 on RocksDB's counters, `NAME = COUNT, `: those that are no times are the same in each run.
    """
    found = re.search(r" (\d+) ops/sec +[\d.]+ seconds +(\d+) operations;.*\((\d+ of \d+ found)\)", stdout)
    if not found:
        raise ValueError("no ops/sec")
    counters = re.findall(r"(\w+) = (\d+(?:@level\d+)?)", stdout)
    same = [counter for counter in counters if not counter[0].endswith(("time", "nanos"))]
    cpu = sum(int(value) for name, value in counters if name.endswith("_cpu_nanos")) / 1e9
    operations = int(found[2])
    digest = sha256(repr((found[3], same)).encode()).hexdigest()
    return Run(operations, operations / int(found[1]), digest, stderr, cpu or None)


def rocksdb(name: str, calls: float, aim: float, *options: str) -> Workload:
    """clock_gettime() is that of a thread's CPU time: RocksDB asks it at --perf_level=5 before and after each step."""
    return Workload(
        name=f"rocksdb-{name}",
        unit="k ops/s",
        units_per_operation=1e-3,
        output="same",
        needs=(DB_BENCH, SHARED_MEMORY),
        command=lambda size, database: db_bench(
            database, "--use_existing_db=1", f"--reads={size.operations}", *options
        ),
        parse=parse_db_bench,
        function="clock_gettime",
        calls=calls,
        aim=aim,
        prepare=fill_database,
    )


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
    rocksdb("seek", 23, 1.9, "--benchmarks=seekrandom", "--seek_nexts=10", "--perf_level=5"),
    rocksdb("get", 3, 1.0, "--benchmarks=readrandom", "--perf_level=5"),
    # Without counters it asks no CPU time, so there is nothing to gain: must not be slower.
    rocksdb("control", 0, 0.99, "--benchmarks=readrandom", "--perf_level=1"),
    Workload(
        name="g++-time-report",
        unit="per min",
        units_per_operation=60,
        output="same",
        needs=(SYSTEM_PYTHON, GXX),
        command=lambda size, scratch: [str(SYSTEM_PYTHON), "-I", str(HERE / "time_report.py"), str(scratch)],
        parse=parse_report,
        function="times",
        calls=1e6,
        aim=1.3,
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


@contextlib.contextmanager
def prepared(workload: Workload) -> Iterator[Workload]:
    """The workload with the directory that its commands fill, in memory so that no disk is measured."""
    if not workload.prepare:
        yield workload
        return
    with tempfile.TemporaryDirectory(prefix="bench-apps-", dir=SHARED_MEMORY) as directory:
        for command in workload.prepare(Path(directory)):
            execute(command, environment(None), timeout=60)
        yield replace(workload, command=lambda size, scratch: workload.command(size, Path(directory)))


def children_cpu() -> float:
    """Seconds of all processes that this one, or a child of it, has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(workload: Workload, size: Size, env: dict[str, str], prefix: Sequence[str] = ()) -> Run:
    before = children_cpu()
    with tempfile.TemporaryDirectory(prefix="bench-apps-", dir=TARGET) as scratch:
        command = [*prefix, *workload.command(size, Path(scratch))]
        stdout, stderr = execute(command, env, timeout=60 + 20 * size.seconds)
    try:
        result = replace(workload.parse(stdout, stderr), kernel_cpu=children_cpu() - before)
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(f"cannot read the output of: {' '.join(command)} ({error})\n    {stdout[-200:]!r}") from None
    if result.operations <= 0 or result.seconds <= 0:
        raise Failure(f"measured nothing: {' '.join(command)}")
    return result


# Who counts the calls: the library, and the kernel


def bypassed_calls(stderr: str, function: str = r"\w+") -> int:
    """The sum of the library's `getpid: bypassed 123 times` (each child prints its own)."""
    return sum(int(count) for count in re.findall(rf"\b{function}: bypassed (\d+) times?\b", stderr))


def patiently(workload: Workload, attempt: Callable[[], Result]) -> Result:
    """The attempt's result. A clock that is set right makes calls about CPU time real for a second, by the library's
    design, so one run may have few bypassed ones; three in a row may not."""
    if workload.function != "getpid":
        for _ in range(2):
            with contextlib.suppress(NotBypassed):
                return attempt()
            time.sleep(2)
    return attempt()


def run_logged(workload: Workload, size: Size, library: Path) -> tuple[Run, int]:
    """An untimed run with the library, which must say that it bypassed the calls."""
    result = run(workload, size, environment(library, log=True))
    bypassed = bypassed_calls(result.stderr, workload.function)
    if bypassed < BYPASSED_AT_LEAST * workload.calls * result.operations:
        said = "".join(f"\n    {line}" for line in result.stderr.splitlines() if re.search(r"bysyscall|ld\.so", line))
        raise NotBypassed(f"{bypassed:,} {workload.function} calls bypassed in {result.operations:,} operations{said}")
    return result, bypassed


class KernelCounter:
    """Counts the calls that reach the kernel, by `perf stat`: under strace the library makes real calls."""

    def __init__(self) -> None:
        self._perf = shutil.which("perf")

    def per_operation(self, workload: Workload, size: Size, library: Path | None) -> float | None:
        """Real calls an operation in an untimed run; None where perf is missing or may not count."""
        if not self._perf:
            return None
        with tempfile.TemporaryDirectory(prefix="bench-apps-", dir=TARGET) as directory:
            report = Path(directory) / "perf.csv"
            event = f"syscalls:sys_enter_{workload.function}"
            stat = [self._perf, "stat", "-x,", "-o", str(report), "-e", event, "--"]
            try:
                execute([*stat, "true"], environment(None), timeout=60)
                self._read(report, event)
            except (Failure, OSError, ValueError):
                self._perf = None
                return None
            # The library is for the program alone, not for perf: `env` sets it between the two.
            preload = [f"LD_PRELOAD={environment(library)['LD_PRELOAD']}"] if library else []
            result = run(workload, size, environment(None), prefix=[*stat, "env", *preload])
            try:
                return self._read(report, event) / result.operations
            except ValueError:
                return None

    def per_operation_bypassed(self, workload: Workload, size: Size, library: Path) -> float | None:
        """The same with the library, which must have bypassed them."""
        real = self.per_operation(workload, size, library)
        if workload.calls and real is not None and real > (1 - BYPASSED_AT_LEAST) * workload.calls:
            raise NotBypassed(f"the kernel saw {real:.2f} {workload.function} calls an operation with the library")
        return real

    @staticmethod
    def _read(report: Path, event: str) -> int:
        for line in report.read_text().splitlines():
            if event in line:
                return int(line.split(",")[0])
        raise ValueError("perf counted nothing")


# Measuring


@dataclass(frozen=True)
class CpuTimes:
    """Medians of the rounds, in seconds an operation: as the program reports, and as the kernel counts."""

    without: float
    with_library: float
    kernel_without: float
    kernel_with: float


def compare_cpu_times(without: Sequence[Run], with_library: Sequence[Run]) -> CpuTimes | None:
    """With the library a program may report less, by what it saved as the kernel counts: real calls cost CPU time."""

    def an_operation(runs: Sequence[Run]) -> tuple[list[float], float]:
        reported = [run.cpu / run.operations for run in runs if run.cpu is not None]
        return reported, statistics.median(run.kernel_cpu / run.operations for run in runs)

    for run in (*without, *with_library):
        if run.cpu is not None and run.cpu > 1.01 * run.kernel_cpu + 0.01:  # the kernel counts the start, too
            raise Failure(f"the program reports {run.cpu:.2f} s of CPU time, the kernel {run.kernel_cpu:.2f} s")
    (reported, kernel), (reported_with, kernel_with) = an_operation(without), an_operation(with_library)
    if not reported or not reported_with:
        return None
    times = CpuTimes(statistics.median(reported), statistics.median(reported_with), kernel, kernel_with)
    noise = max(max(values) - min(values) for values in (reported, reported_with))
    allowed = max(CPU_DIFFERS_AT_MOST * times.without, noise)
    less = times.without - times.with_library
    if not -allowed <= less <= allowed + max(0, times.kernel_without - times.kernel_with):
        raise Failure(f"the CPU times that the program reports disagree\n    {cpu_line(times)}")
    return times


@dataclass(frozen=True)
class Outcome:
    workload: Workload
    without: list[float]  # rates in the workload's unit, one a round
    with_library: list[float]
    bypassed: float  # calls an operation, as the library counts
    real_without: float | None  # calls an operation, as the kernel counts
    real_with: float | None
    cpu: CpuTimes | None  # None: the program reports none

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
    if bypassed_calls(first.stderr):  # of any function
        raise Missing(
            "a run without --library is bypassed already, so there is nothing to compare with; "
            "take libbysyscall.so out of LD_PRELOAD or /etc/ld.so.preload first"
        )
    return Size(max(10_000, round(first.rate * seconds / 10_000) * 10_000), seconds)


def measure(workload: Workload, library: Path, rounds: int, seconds: int, kernel: KernelCounter) -> Outcome:
    show_progress(f"{workload.name}: {rounds} rounds, each without and with the library")
    size = calibrate(workload, seconds)
    logged, _ = patiently(workload, lambda: run_logged(workload, size, library))
    digests: dict[Path | None, set[str | None]] = {None: set(), library: {logged.digest}}
    runs: dict[Path | None, list[Run]] = {None: [], library: []}
    for number in range(rounds):
        show_progress(f"{workload.name}: round {number + 1} of {rounds}", passing=True)
        for preload in (None, library) if number % 2 == 0 else (library, None):
            result = run(workload, size, environment(preload))
            runs[preload].append(result)
            digests[preload].add(result.digest)

    show_progress(f"{workload.name}: counting calls", passing=True)
    logged, bypassed = patiently(workload, lambda: run_logged(workload, size, library))
    digests[library].add(logged.digest)
    if len(digests[None] | digests[library]) != 1:
        without, with_library = (", ".join(sorted(map(str, digests[preload]))) for preload in (None, library))
        raise Failure(f"the outputs differ\n    digest without the library: {without}\n    with it: {with_library}")
    cpu = compare_cpu_times(runs[None], runs[library])

    real_without = kernel.per_operation(workload, size, None)
    real_with = patiently(workload, lambda: kernel.per_operation_bypassed(workload, size, library))
    return Outcome(
        workload,
        *([run.rate * workload.units_per_operation for run in runs[preload]] for preload in (None, library)),
        bypassed / logged.operations,
        real_without,
        real_with,
        cpu,
    )


# Reporting


def table(outcomes: Sequence[Outcome]) -> str:
    def calls(count: float | None) -> str:
        return "?" if count is None else f"{count:.2f}" if count < 1e4 else f"{count / 1e6:.2f}M"

    def aim(outcome: Outcome) -> str:
        aim = outcome.workload.aim
        if aim is None:
            return ""
        _, third = outcome.quartiles
        verdict = "met" if statistics.median(outcome.ratios) >= aim else "unclear" if third >= aim else "missed"
        return f"{aim:.2f} {verdict}"

    rows = [
        ("", "", "median", "median", "ratio", "ratio", "ratio", "ratio", "", "calls/op", "calls/op", ""),
        (
            *("workload", "unit", "without", "with", "median", "min-max", "quartiles", "at least"),
            *("function", "bypassed", "real", "output"),
        ),
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
                aim(outcome),
                outcome.workload.function,
                calls(outcome.bypassed),
                f"{calls(outcome.real_without)} > {calls(outcome.real_with)}",
                outcome.workload.output,
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = {0, 1, 7, 8, 11}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at in left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def cpu_line(times: CpuTimes) -> str:
    unit, factor = ("s", 1.0) if times.without >= 1 else ("µs", 1e6)

    def change(without: float, with_library: float) -> str:
        return f"{without * factor:.2f} > {with_library * factor:.2f} {unit}"

    reported = change(times.without, times.with_library)
    counted = change(times.kernel_without, times.kernel_with)
    return f"CPU time an operation, without > with: {reported} as it reports, {counted} as the kernel counts"


LEGEND = """ratio = with / without in the same round, the order of the two turned each round; above 1 the library gains
calls/op: calls of the function an operation; bypassed = as the library counts them; real = as the kernel does,
without > with the library (? = no perf here, or it may not count)
output: same = one digest in all runs; checked = random, but well formed and other bytes after a fork; random = not
checked
ratio at least: what the median should reach; unclear = it does not, but a quarter of the rounds or more do"""


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
            "aim": outcome.workload.aim,
            "calls_per_operation": {
                "function": outcome.workload.function,
                "bypassed": outcome.bypassed,
                "real_without": outcome.real_without,
                "real_with": outcome.real_with,
            },
            "cpu_seconds_per_operation": outcome.cpu and asdict(outcome.cpu),
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
                with prepared(workload) as ready:
                    outcomes.append(measure(ready, library, args.rounds, args.seconds, kernel))
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
        for outcome in outcomes:
            if outcome.cpu:
                print(f"{outcome.workload.name}: {cpu_line(outcome.cpu)}")
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
