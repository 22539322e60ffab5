"""Replace a damaged index: look, plan, build a new generation beside it, publish, set the damaged one aside.

Until the new one is published the old one serves; after that it goes into quarantine with what was found, as soon as
nobody has it open. Every vector that is whole is taken along, so that no text is embedded twice. A death at any step
leaves the old index or the new one. Test: fault/test_repair.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from holdfast.engine.check import REPAIRED, Progress, check
from holdfast.engine.sync import build_beside
from holdfast.engine.workspace import Workspace
from holdfast.errors import IndexTooNew
from holdfast.results import Finding, Upkeep

Plan = tuple[Mapping[str, Any], ...]


def repair(ws: Workspace, *, dry_run: bool = False, progress: Progress | None = None) -> Upkeep:
    """Mend what a deep check finds wrong with the index; `dry_run` only says what would be done.

    Where nothing is wrong the plan is empty. Raises VaultBusy, IndexTooNew, and what a rebuild raises.
    """
    found = damage(ws, progress)
    plan = make_plan(ws, found)
    if dry_run or not plan:
        return Upkeep(plan, done=not dry_run, freed_bytes=0)
    before, _ = ws.generations.size()
    with ws.job("repair", ws.config.lock_wait_s):
        opened, manifest, _ = build_beside(ws, progress)
        evidence = {"reason": found[0].message, "findings": [asdict(f) for f in found]}
        ws.condemn(evidence, but=manifest.generation)
        ws.adopt(opened, manifest)
        opened.index.note_job("repair", "", ws.fs.time_ns())
    after, _ = ws.generations.size()
    return Upkeep(plan, done=True, freed_bytes=max(0, before - after))


def damage(ws: Workspace, progress: Progress | None = None) -> list[Finding]:
    """What a deep check finds that a new index mends; raises IndexTooNew where that is not ours to do."""
    found = check(ws, deep=True, vectors=False, progress=progress).findings
    if any(f.kind == "index_too_new" for f in found):
        raise IndexTooNew(next(f.message for f in found if f.kind == "index_too_new"))
    return [f for f in found if f.kind in REPAIRED]


def make_plan(ws: Workspace, found: list[Finding]) -> Plan:
    """The steps that mend what was found, each with the bytes that it is about."""
    if not found:
        return ()
    old = [f"gen-{number:06d}" for number in ws.generations.published()]
    sizes = {name: _size(ws, f"{ws.directory}/{name}.db") for name in old}
    new = f"gen-{ws.generations.next_number():06d}"
    steps = [{"action": "build", "target": new, "bytes": max(sizes.values(), default=0)}]
    return (*steps, *({"action": "set_aside", "target": name, "bytes": sizes[name]} for name in old))


def _size(ws: Workspace, path: str) -> int:
    try:
        return ws.fs.lstat(path).st_size
    except OSError:
        return 0
