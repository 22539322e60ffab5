"""How things are measured: CPU time, of this process or of a command, as medians of runs that take turns.

Wall time on a shared machine says little, so it is used for waiting only (a slow mount). Whatever is compared is
measured in the same run, turn by turn, so that a busy minute falls on both sides.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_START = Path(__file__).with_name("start.py")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `ok` is whether the promise is kept, None where nothing is promised or measured."""

    family: str
    what: str
    must: str
    measured: str
    compared: str
    ok: bool | None
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command cost and said. `peak_bytes` is the largest resident size of it alone."""

    cpu_s: float
    wall_s: float
    peak_bytes: int
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def holdfast_command() -> list[str]:
    """The installed command of this interpreter."""
    beside = Path(sys.executable).with_name("holdfast")
    if beside.exists():
        return [str(beside)]
    found = shutil.which("holdfast")
    return [found] if found else [sys.executable, "-m", "holdfast"]


def run(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, limit_as_bytes: int = 0, check: bool = True
) -> Ran:
    """Run `command` to its end, under RLIMIT_AS if given."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-S", str(_START), str(limit_as_bytes), *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        check=False,
    )
    wall_s = time.perf_counter() - started
    said, _, cost = done.stderr.rpartition("\n\0")
    usage = json.loads(cost)
    ran = Ran(usage["cpu_s"], wall_s, usage["peak_bytes"], done.returncode, done.stdout, said)
    if check and ran.code != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {ran.code}: {said[-2000:]}")
    return ran


def cpu_s(call: Callable[[], Any]) -> float:
    """CPU seconds of one call in this process, all threads."""
    began = time.process_time()
    call()
    return time.process_time() - began


def take_turns(calls: Mapping[str, Callable[[], float]], times: int) -> dict[str, list[float]]:
    """What each call returns, `times` each; the order changes from round to round."""
    out: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for i in range(times):
        for name in names if i % 2 == 0 else reversed(names):
            out[name].append(calls[name]())
    return out


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def walk(root: str) -> int:
    """The bare walk that a look is measured against: scandir and one stat a file; returns the number of files."""
    count = 0
    below = [root]
    while below:
        with os.scandir(below.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    count += 1
    return count


def disk_bytes(folder: str | Path) -> tuple[int, int]:
    """(bytes allocated on disk, number of files) below `folder`."""
    total = count = 0
    for at, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(at, name)).st_blocks * 512
                count += 1
            except FileNotFoundError:
                continue
    return total, count


def megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


def mebibytes(size: float) -> str:
    return f"{size / 2**20:.0f} MiB"
