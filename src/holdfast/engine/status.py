"""What is known of a vault and its index, and how well they are, without looking at the notes."""

from __future__ import annotations

import json
import os
from typing import Any

from holdfast.engine.breaker import FAILED_WITH, settings_mark
from holdfast.engine.health import Findings, judge
from holdfast.engine.times import rfc3339
from holdfast.engine.verdict import verdict
from holdfast.engine.workspace import Workspace
from holdfast.errors import ConfigError, HoldfastError, IndexFault
from holdfast.index.base import NEVER_NS, Index
from holdfast.model import key_path, show_path
from holdfast.results import Status

NEWEST = 10
HEALTH_FILE = "health.json"


def status(ws: Workspace) -> Status:
    """What is known without looking at the notes; cheap, and it works whatever is broken."""
    faults: list[HoldfastError] = []
    index = None
    try:
        index = ws.index()
    except HoldfastError as e:
        faults.append(e)
    try:
        facts = _facts(index) if index is not None else {}
    except HoldfastError as e:
        ws.count(f"index_{e.kind}", e)
        faults.append(e)
        index, facts = None, {}
    free, total = ws.disk()
    size, files = ws.generations.size()
    note_bytes = facts.get("note_bytes", 0)
    bound = ws.config.index_limit(note_bytes, facts.get("vector_bytes", 0))
    jobs, descriptors = _jobs(ws, index), _descriptors(ws)
    health, reasons = judge(
        Findings(
            faults=tuple(faults), has_index=index is not None, is_full=facts.get("full", False),
            aside=facts.get("quarantined", 0), size_bytes=size, bound_bytes=bound, free_bytes=free, disk_bytes=total,
            jobs=tuple((name, job["error"]) for name, job in jobs.items() if job["error"]),
            verdict=verdict(ws), setting=_wrong_setting(ws),
            open_files=descriptors["open"], open_files_limit=descriptors["soft_limit"],
        )
    )  # fmt: skip
    proven, kept = facts.get("proven_at_ns"), ws.past.size()
    return Status(
        health=health,
        reasons=reasons,
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
        history={"bytes": kept[0], "versions": kept[1]},
        disk_free_bytes=free,
        descriptors=descriptors,
        behind=None,
        proven_at=rfc3339(int(proven)) if proven else None,
        quarantined={"count": facts.get("quarantined", 0), "newest": facts.get("newest", [])},
        jobs=jobs,
        counters=dict(sorted({**ws.counters, **_kept(ws)}.items())),
    )


def write_health(ws: Workspace) -> None:
    """Leave the status as a file for monitors, replaced as a whole: `health.json` in the index directory.

    Its `at` tells a watch that is well from one that has ended. On a full disk the old one stays, and grows old.
    """
    report = {"at": rfc3339(ws.fs.time_ns()), **status(ws).to_dict()}
    try:
        ws.fs.write_new(f"{ws.directory}/{HEALTH_FILE}", (json.dumps(report) + "\n").encode(), durable=False)
    except OSError as e:
        ws.count("health_file_failed", e)


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


def _jobs(ws: Workspace, index: Index | None) -> dict[str, Any]:
    out: dict[str, Any] = {}
    try:
        entries = index.jobs() if index is not None else {}
    except IndexFault as e:
        ws.count(f"index_{e.kind}", e)
        entries = {}
    if "embed" in entries and entries["embed"].get("error") and _is_of_other_settings(ws, index):
        entries["embed"] = {**entries["embed"], "error": None}
    holders = {h.verb for h in (ws.job_holder(), ws.embed_holder(), ws.watch_holder()) if h is not None}
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


def _kept(ws: Workspace) -> dict[str, int]:
    """How many indexes are in quarantine, where there are any."""
    count = len(ws.generations.aside())
    return {"index_set_aside": count} if count else {}


def _wrong_setting(ws: Workspace) -> HoldfastError | None:
    """What is wrong with the embedder that the settings name; it is not asked."""
    try:
        ws.embedder()
    except ConfigError as e:
        return e
    except HoldfastError:
        return None  # an embedder that cannot be had; embedding says so
    return None


def _has_embedder(ws: Workspace) -> bool:
    """Whether the settings name one; it is not asked."""
    try:
        return ws.embedder() is not None
    except HoldfastError:
        return True


def _time(ns: object) -> str | None:
    return rfc3339(int(str(ns))) if ns else None


def _descriptors(ws: Workspace) -> dict[str, int]:
    try:
        count = len(ws.fs.scandir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))
    except OSError:
        count = 0
    return {"open": count, "soft_limit": ws.fs.open_files_limit()}
