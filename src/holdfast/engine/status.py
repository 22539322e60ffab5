"""Health as one pure function of what was counted; the worst component wins, on the first failure."""

from __future__ import annotations

import os
from typing import Any

from holdfast.engine.apply import NEVER_NS
from holdfast.engine.breaker import FAILED_WITH, settings_mark
from holdfast.engine.times import rfc3339
from holdfast.engine.workspace import Workspace
from holdfast.errors import HoldfastError, IndexFault, TruthFault
from holdfast.index.base import Index
from holdfast.model import key_path, show_path
from holdfast.results import Reason, Status

NEWEST = 10
RANKS = ("ok", "degraded", "failing")
LOW_DISK_BYTES = 256 << 20
LOW_DISK_SHARE = 0.05


def status(ws: Workspace) -> Status:
    """What is known without looking at the notes; cheap, and it works whatever is broken."""
    reasons: list[tuple[str, Reason]] = []
    index = None
    try:
        index = ws.index()
        if index is None:
            reasons.append(("degraded", Reason("index_missing", "There is no index yet.", "Run `holdfast sync`.")))
    except HoldfastError as e:
        rank = "failing" if e.exit == 75 else "degraded"
        reasons.append((rank, Reason(e.kind, e.message, e.hint)))
    try:
        facts = _facts(index) if index is not None else {}
    except HoldfastError as e:
        ws.count(f"index_{e.kind}")
        reasons.append(("degraded", Reason(e.kind, e.message, e.hint)))
        index, facts = None, {}
    free, total = _disk(ws)
    size, files = ws.generations.size()
    note_bytes = facts.get("note_bytes", 0)
    bound = ws.config.index_limit(note_bytes, facts.get("vector_bytes", 0))
    quarantined = facts.get("quarantined", 0)
    jobs = _jobs(ws, index)
    reasons += _judge(facts, size, bound, free, total, jobs, index is not None)
    health = max((rank for rank, _ in reasons), key=RANKS.index, default="ok")
    proven = facts.get("proven_at_ns")
    return Status(
        health=health,
        reasons=tuple(r for _, r in sorted(reasons, key=lambda x: -RANKS.index(x[0]))),
        vault={"path": ws.root, "id": ws.vault_id, "notes": facts.get("notes", 0), "bytes": note_bytes},
        index={
            "path": ws.directory,
            "bytes": size,
            "bound_bytes": bound,
            "ratio": round(size / note_bytes, 3) if note_bytes else None,
            "files": files,
            "generation": index.generation if index else None,
            "seq": facts.get("seq"),
            "chunks": facts.get("chunks", 0),
            "vectors": {"ready": facts.get("ready", 0), "total": facts.get("chunks", 0)},
            "embedder": facts.get("embedder"),
            "has_embedder": _has_embedder(ws),
        },
        history={"bytes": 0, "versions": 0},
        disk_free_bytes=free,
        descriptors=_descriptors(ws),
        behind=None,
        proven_at=rfc3339(int(proven)) if proven else None,
        quarantined={"count": quarantined, "newest": facts.get("newest", [])},
        jobs=jobs,
        counters=dict(sorted(ws.counters.items())),
    )


def _facts(index: Index) -> dict[str, Any]:
    counts, live = index.counts(), index.vectors.live()
    ready = index.vectors.ready(live.id) if live is not None else 0
    return {
        "ready": ready,
        "embedder": live.identity if live is not None else None,
        "vector_bytes": index.vectors.stored_bytes(live.id) if live is not None else 0,
        "notes": counts.notes,
        "chunks": counts.chunks,
        "seq": counts.seq,
        "quarantined": counts.quarantined,
        "note_bytes": counts.note_bytes,
        "proven_at_ns": index.meta("proven_at_ns"),
        "full": bool(index.meta("full")),
        "newest": [
            {
                "path": show_path(key_path(x.key)),
                "reason": x.reason,
                "retry_at": rfc3339(x.retry_ns) if x.retry_ns < NEVER_NS else None,
            }
            for x in index.quarantined(NEWEST)
        ],
    }


def _judge(
    facts: dict[str, Any], size: int, bound: int, free: int, total: int, jobs: dict[str, Any], has_index: bool
) -> list[tuple[str, Reason]]:
    out = []
    if has_index and not facts["full"]:
        out.append(("degraded", Reason("index_incomplete", "The first sync has not ended.", "Run `holdfast sync`.")))
    if count := facts.get("quarantined"):
        aside = "1 note is" if count == 1 else f"{count:,} notes are"
        out.append(("degraded", Reason("quarantined", f"{aside} set aside.", "Run `holdfast sync --explain`.")))
    if size > bound:
        message = f"The index has {size:,} bytes; its bound is {bound:,}."
        out.append(("failing", Reason("index_over_bound", message, "Run `holdfast rebuild`.")))
    if free < min(LOW_DISK_BYTES, total * LOW_DISK_SHARE):
        out.append(
            ("failing", Reason("disk_low", f"{free:,} bytes are free on the disk of the index.", "Free some space."))
        )
    for name, job in jobs.items():
        if job["error"]:
            # Without new vectors words answer, and old vectors do.
            rank = "degraded" if name == "embed" else "failing"
            said = f"The last {name} failed: {job['error']}"
            out.append((rank, Reason(f"job_{name}", said, f"Run `holdfast {name}`.")))
    return out


def _jobs(ws: Workspace, index: Index | None) -> dict[str, Any]:
    out: dict[str, Any] = {}
    try:
        entries = index.jobs() if index is not None else {}
    except IndexFault as e:
        ws.count(f"index_{e.kind}")
        entries = {}
    if "embed" in entries and entries["embed"].get("error") and _is_of_other_settings(ws, index):
        entries["embed"] = {**entries["embed"], "error": None}
    holders = {h.verb for h in (ws.job_holder(), ws.embed_holder()) if h is not None}
    for name in sorted({"sync", *entries, *(verb for verb in holders if verb)}):
        entry = entries.get(name, {})
        out[name] = {
            "last_success": _time(entry.get("last_success_ns")),
            "last_failure": _time(entry.get("last_failure_ns")),
            "error": entry.get("error"),
            "running": name in holders,
        }
    return out


def _is_of_other_settings(ws: Workspace, index: Index | None) -> bool:
    """Whether what embedding failed with is not what the settings name now."""
    known = index.meta(FAILED_WITH) if index is not None else None
    return not _has_embedder(ws) or (known is not None and known != settings_mark(ws.config))


def _has_embedder(ws: Workspace) -> bool:
    """Whether the settings name one; it is not asked."""
    try:
        return ws.embedder() is not None
    except HoldfastError:
        return True


def _time(ns: object) -> str | None:
    return rfc3339(int(str(ns))) if ns else None


def _disk(ws: Workspace) -> tuple[int, int]:
    for path in (ws.directory, ws.state_dir, ws.root):
        try:
            st = ws.fs.statvfs(path)
            return st.f_bavail * st.f_frsize, st.f_blocks * st.f_frsize
        except OSError:
            continue
    raise TruthFault("The disk of the index and of the notes cannot be asked for its free space.")


def _descriptors(ws: Workspace) -> dict[str, int]:
    try:
        count = len(ws.fs.scandir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))
    except OSError:
        count = 0
    return {"open": count, "soft_limit": ws.fs.open_files_limit()}
