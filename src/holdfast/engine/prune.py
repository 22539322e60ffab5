"""Give bytes back: first a plan that can be printed, then each step by itself.

No step needs a free byte until some were freed, and none waits for another: what fails is recorded and the next one
runs. Only what can be made again from the notes is ever removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from holdfast.engine.bounds import Bounds, bounds_of, make_reserve, release_reserve
from holdfast.engine.workspace import Workspace
from holdfast.errors import HoldfastError, IndexFault, ResourceFault
from holdfast.index.base import Index
from holdfast.results import Upkeep

FULL_SHARE = 0.8
"""From this share of the budget on, the watchdog frees what it can."""

EVERY_NS = 60 * 10**9
PRUNED = "pruned_ns"
SHRINK_LEAST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: `bytes` is about what it gives back."""

    action: str
    target: str
    bytes: int
    run: Callable[[], object]


def prune(ws: Workspace, *, dry_run: bool = False, whole_index: bool = False) -> Upkeep:
    """Free what is not needed, or say what could be; with `whole_index`, the index itself too.

    Raises VaultBusy while another process scans, and the first fault that a step met, after all were tried.
    """
    if dry_run:
        plan = [*_files(ws), *_rows(_index(ws)), *(_all(ws) if whole_index else ())]
        return Upkeep(_shown(plan), done=False, freed_bytes=0)
    with ws.job("prune", ws.config.lock_wait_s):
        before, _ = ws.generations.size()
        plan = list(_files(ws))
        failed = _run(ws, plan)
        if not whole_index:
            # Opened only now: on a full disk the first steps made the room that this needs.
            rows = list(_rows(_index(ws)))
            failed += _run(ws, rows)
            plan += rows
        else:
            everything = list(_all(ws))
            failed += _run(ws, everything)
            plan += everything
        _record(ws, _index(ws), failed)
        after, _ = ws.generations.size()
        if failed:
            raise failed[0]
        return Upkeep(_shown(plan), done=True, freed_bytes=max(0, before - after))


def watchdog(ws: Workspace, index: Index) -> None:
    """Prune if the index comes near its budget, at most once a minute. For the holder of the job lock.

    What fails is recorded and shown by `status`; the limit in the write path holds all the same.
    """
    of = bounds_of(ws, index)
    size, _ = ws.generations.size()
    if index.jobs().get("prune", {}).get("error"):
        free(ws, index, of)  # what hindered it may be over
        return
    if size <= FULL_SHARE * of.total:
        make_reserve(ws, of.reserve)
        return
    now, last = ws.fs.time_ns(), int(index.meta(PRUNED) or 0)
    if not 0 <= now - last < EVERY_NS:
        free(ws, index, of)


def free(ws: Workspace, index: Index, of: Bounds | None = None) -> None:
    """Run the plan until the size is well within the budget, and record the job. For the holder of the job lock."""
    failed = []
    for step in (*_files(ws), *_rows(index)):
        failed += _run(ws, [step])
        if of is not None and ws.generations.size()[0] <= FULL_SHARE * of.total:
            break
    _record(ws, index, failed)


def _files(ws: Workspace) -> Iterator[Step]:
    """Steps that only remove files: they work on a disk without a free byte."""
    gone = ws.generations
    for name, size in gone.unfinished() if ws.embed_holder() is None else ():
        yield Step("remove", name, size, lambda name=name: gone.remove(name))  # type: ignore[misc]
    for number, size in gone.old():
        yield Step("remove", f"gen-{number:06d}", size, lambda number=number: gone.drop(number))  # type: ignore[misc]
    for stamp, size in gone.aside():
        yield Step("remove", f"quarantine/{stamp}", size, lambda stamp=stamp: gone.drop_aside(stamp))  # type: ignore[misc]
    if ws.disk()[0] < SHRINK_LEAST_BYTES and (size := dict(gone.files()).get("reserve", 0)):
        yield Step("release", "reserve", size, lambda: release_reserve(ws))


def _rows(index: Index | None) -> Iterator[Step]:
    """Steps within the database; each needs a little room in its log."""
    if index is None:
        return
    live = index.vectors.live()
    if live is not None and (orphans := index.vectors.orphans(live.id)):
        each = index.vectors.stored_bytes(live.id) // max(1, index.vectors.ready(live.id))
        drop = lambda: index.vectors.drop_orphans(live.id)  # noqa: E731
        yield Step("drop", "vectors that no passage has", orphans * each, drop)
    spare, logged = index.space()
    if spare >= SHRINK_LEAST_BYTES or logged:
        yield Step("shrink", "the database and its log", spare + logged, index.shrink)


def _all(ws: Workspace) -> Iterator[Step]:
    size = sum(size for _, size in ws.generations.files())
    yield Step("remove", "the index; it is built anew from the notes", size, ws.discard)


def _run(ws: Workspace, steps: list[Step]) -> list[HoldfastError]:
    failed: list[HoldfastError] = []
    for step in steps:
        try:
            step.run()
        except (IndexFault, ResourceFault) as e:
            ws.count(f"prune_{e.kind}", e)
            failed.append(e)
        except OSError as e:
            ws.count("prune_OSError")
            failed.append(ResourceFault(f"{step.target} cannot be removed: {e.strerror}.", hint="Remove it by hand."))
    return failed


def _index(ws: Workspace) -> Index | None:
    try:
        return ws.index()
    except HoldfastError as e:
        ws.count(f"index_{e.kind}", e)
        return None


def _record(ws: Workspace, index: Index | None, failed: list[HoldfastError]) -> None:
    if index is None:
        return
    now = ws.fs.time_ns()
    try:
        if failed:
            index.note_job("prune", failed[0].message, now, {PRUNED: now}, failed=True)
        else:
            index.note_job("prune", "", now, {PRUNED: now})
    except (IndexFault, ResourceFault):
        ws.count("job_record_failed")


def _shown(plan: list[Step]) -> tuple[dict[str, object], ...]:
    return tuple({"action": s.action, "target": s.target, "bytes": s.bytes} for s in plan)
