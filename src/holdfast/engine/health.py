"""Health: one pure function of what was counted; the worst component wins, on the first failure.

`ok`; `degraded`, where answers are complete or say what they lack; `failing`, where a promise is broken or about to be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.engine.bounds import low_disk_bytes
from holdfast.errors import HoldfastError
from holdfast.results import Reason

RANKS = ("ok", "degraded", "failing")
MILD_JOBS = frozenset({"embed"})
"""What these leave undone is said in each answer, which is complete by words."""

FEW_FILES = 128
"""Under so low a limit the command line and a few clients work, and nothing is to spare."""

SPARE_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Findings:
    """What health is judged by: faults of the index that is there, its sizes, the disk's, jobs that failed last.

    `verdict` is of the last check, `setting` one that is wrong, so that most commands refuse to run.
    """

    faults: tuple[HoldfastError, ...] = ()
    has_index: bool = True
    is_full: bool = True
    aside: int = 0
    size_bytes: int = 0
    bound_bytes: int = 0
    free_bytes: int = 0
    disk_bytes: int = 0
    jobs: tuple[tuple[str, str], ...] = ()
    open_files: int = 0
    open_files_limit: int = 1 << 20
    verdict: Reason | None = None
    setting: HoldfastError | None = None


def judge(found: Findings) -> tuple[str, tuple[Reason, ...]]:
    """The health, and why it is not ok, the worst first."""
    said = list(_reasons(found))
    said.sort(key=lambda x: -RANKS.index(x[0]))
    return max((rank for rank, _ in said), key=RANKS.index, default="ok"), tuple(reason for _, reason in said)


def _reasons(f: Findings) -> Iterator[tuple[str, Reason]]:
    for fault in f.faults:
        yield "failing" if fault.exit == 75 else "degraded", Reason(fault.kind, fault.message, fault.hint)
    if f.verdict is not None:
        yield "failing", f.verdict
    if f.setting is not None:
        yield "failing", Reason(f.setting.kind, f.setting.message, f.setting.hint)
    if not f.has_index and not f.faults:
        yield "degraded", Reason("index_missing", "There is no index yet.", "Run `holdfast sync`.")
    if f.has_index and not f.is_full:
        yield "degraded", Reason("index_incomplete", "The first sync has not ended.", "Run `holdfast sync`.")
    if f.aside:
        notes = "1 note is" if f.aside == 1 else f"{f.aside:,} notes are"
        yield "degraded", Reason("quarantined", f"{notes} set aside.", "Run `holdfast sync --explain`.")
    if f.size_bytes > f.bound_bytes:
        message = f"The index has {f.size_bytes:,} bytes; its bound is {f.bound_bytes:,}."
        yield "failing", Reason("index_over_bound", message, "Run `holdfast prune`.")
    if f.free_bytes < (least := low_disk_bytes(f.disk_bytes)):
        message = f"{f.free_bytes:,} bytes are free on the disk of the index; it stops to grow below {least:,}."
        yield "failing", Reason("disk_low", message, "Free some space.")
    for name, error in f.jobs:
        rank = "degraded" if name in MILD_JOBS else "failing"
        verb = "check --deep" if name == "audit" else name
        yield rank, Reason(f"job_{name}", f"The last {name} failed: {error}", f"Run `holdfast {verb}`.")
    yield from _files(f)


def _files(f: Findings) -> Iterator[tuple[str, Reason]]:
    hint = "Raise the limit (`ulimit -n 1024`)."
    if f.open_files > SPARE_SHARE * f.open_files_limit:
        message = f"{f.open_files} of {f.open_files_limit} files are open that this process may have."
        yield "failing", Reason("descriptors", message, hint)
    elif f.open_files_limit < FEW_FILES:
        message = f"This process may open {f.open_files_limit} files, and its hard limit allows no more."
        yield "degraded", Reason("descriptors_few", message, hint)
