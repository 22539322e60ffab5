"""Sets damaged or drifted segments aside by rename, with the evidence beside them, and puts them back.

Nothing is deleted or overwritten: a segment becomes `<uuid>.drift-YYYYMMDD-HHMMSS[-n]` (UTC), and `<that>.json` says
why, with a digest of each file. The evidence is on disk before the rename.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import apsw

from holdfast.clinic.chroma.case import EXAMPLES, Case, shown
from holdfast.clinic.chroma.examining import KIND, SEEN_AS, cases, entry, losses, silent, what
from holdfast.clinic.chroma.graph import IDS
from holdfast.clinic.chroma.place import DATABASE, find, folders, set_aside
from holdfast.clinic.holders import holders, refuse_if_held
from holdfast.clinic.report import Chart, Report, Step, nothing
from holdfast.errors import Conflict, DiskFull, NotFound, ResourceFault, VaultBusy
from holdfast.results import Finding

_BLOCK = 1 << 20
_MOST_EVIDENCE = 16 << 20
_MOST_HASHED = 64 << 30
_SHORT = 200


def quarantine(path: str, *, apply: bool, force: bool) -> Report:
    """Set aside every segment that is damaged or drifted; never a healthy one, never one already set aside.

    Without `apply` it says what it would do and what would be lost. Raises VaultBusy while another process has the
    files open, unless forced.
    """
    directory = find(path)
    if directory is None:
        return nothing(KIND, path, f"there is no {DATABASE} in {path}.")
    chart = Chart(KIND, path, SEEN_AS)
    attend(chart, directory, apply=apply, force=force)
    sound = True
    for case, _ in cases(directory, chart):
        chart.seen.append(entry(case))
        sound = sound and case.is_sound
        if not case.can_be_set_aside:
            if not case.is_sound:
                why = _stays(case)
                chart.remarks.append(f"The segment of collection {shown(case.collection.name)} stays: {why}.")
            continue
        chart.loses += losses(case)
        if apply:
            name = move(directory, case)
            chart.remarks.append(f"{case.segment} is now {name}; `--restore {name}` puts it back.")
        chart.plan.append(Step("set aside", os.path.join(directory, case.segment), case.graph.bytes))
    sound = sound and not chart.wrong
    if not chart.plan:
        return chart.report("Nothing is set aside: no segment has files that are damaged or drifted.", ok=sound)
    chart.remarks.append(silent())
    chart.done = apply
    n = f"{len(chart.plan)} {'segment' if len(chart.plan) == 1 else 'segments'}"
    if apply:
        return chart.report(f"{n} set aside.")
    return chart.report(f"{n} would be set aside; `--apply` does it.", ok=sound)


def attend(chart: Chart, directory: str, *, apply: bool, force: bool) -> None:
    """Refuse to change what another process has open; without `apply` only say who has."""
    if not apply:
        for holder in holders(directory).found:
            chart.remarks.append(f"{shown(holder)} has files open; end it before `--apply`.")
        return
    seen = refuse_if_held(directory, force=force)
    if seen.unseen:
        chart.unknown.append(seen.unseen)


def _stays(case: Case) -> str:
    if case.is_only_bloated:
        return "its graph is whole, and cutting the file that is too long loses nothing"
    if not case.graph.files:
        return "it has no files of its own to set aside"
    return "chromadb has begun its files anew, and they hold nothing yet"


def move(directory: str, case: Case) -> str:
    """Set the files of one segment aside and return their new name. The rename is durable when this returns."""
    source = os.path.join(directory, case.segment)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    with changing(directory):
        evidence = _evidence(source, case)
        name = _record(directory, f"{case.segment}.drift-{stamp}", evidence)
        os.rename(source, os.path.join(directory, name))
        sync_directory(directory)
    return name


def _record(directory: str, wanted: str, evidence: dict[str, Any]) -> str:
    """Write the evidence under the first free name and return that; two in one second get `-1`, `-2`."""
    body = json.dumps(evidence, ensure_ascii=True, indent=1).encode()
    n = 0
    while True:
        name = f"{wanted}-{n}" if n else wanted
        n += 1
        # A rename onto an empty folder would swallow it without a word, hence the look; O_EXCL settles a race.
        if os.path.lexists(os.path.join(directory, name)):
            continue
        try:
            fd = os.open(os.path.join(directory, f"{name}.json"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        with os.fdopen(fd, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(fd)
        return name


def _evidence(folder: str, case: Case) -> dict[str, Any]:
    return {
        **entry(case),
        "set_aside_by": "holdfast clinic chroma",
        "set_aside_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "why": what(case),
        "loses": losses(case),
        "missing_ids": case.missing_ids,
        "ghost_ids": case.ghost_ids,
        "ids_listed_at_most": EXAMPLES,
        "contents": digests(folder),
    }


def digests(folder: str) -> dict[str, Any]:
    """Size, time and BLAKE2b-128 digest of each file; no digest of what is no file, or mostly a hole."""
    out: dict[str, Any] = {}
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        st = os.lstat(path)
        is_file = stat.S_ISREG(st.st_mode)
        is_hole = st.st_size > _MOST_HASHED or st.st_size > 16 * st.st_blocks * 512 + (1 << 30)
        digest = _digest(path) if is_file and not is_hole else None
        out[name] = {
            "bytes": st.st_size,
            "disk_bytes": st.st_blocks * 512,
            "mtime_ns": st.st_mtime_ns,
            "digest": digest,
        }
    return out


def _digest(path: str) -> str:
    made = blake2b(digest_size=16)
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        while block := file.read(_BLOCK):
            made.update(block)
    return f"b2-{made.hexdigest()}"


def listed(path: str) -> Report:
    """What is set aside in the Chroma directory `path`, the oldest first."""
    directory = find(path)
    if directory is None:
        return nothing(KIND, path, f"there is no {DATABASE} in {path}.")
    chart = Chart(KIND, path, SEEN_AS)
    for name in sorted(folders(directory).aside, key=lambda n: ((set_aside(n) or ("", ""))[1], n)):
        segment, stamp = set_aside(name) or ("", "")
        evidence = _read_evidence(directory, name)
        sizes = [os.lstat(os.path.join(directory, name, f)) for f in os.listdir(os.path.join(directory, name))]
        said = {key: evidence.get(key) for key in ("collection", "verdict", "rows", "entries", "only_in_graph")}
        said = {key: shown(v) if isinstance(v, str) else v for key, v in said.items() if isinstance(v, (str, int))}
        chart.seen.append(
            {
                "name": name,
                "segment": segment,
                "set_aside": re.sub(r"(....)(..)(..)-(..)(..)(..)", r"\1-\2-\3T\4:\5:\6Z", stamp),
                "what": shown(evidence.get("why", "It was not set aside by us; there is no evidence beside it.")),
                "place": _place(directory, segment),
                "bytes": sum(st.st_size for st in sizes),
                "files": len(sizes),
                **said,
            }
        )
    n = len(chart.seen)
    return chart.report(
        f"{n} {'segment is' if n == 1 else 'segments are'} set aside." if n else "Nothing is set aside."
    )


def _read_evidence(directory: str, name: str) -> dict[str, Any]:
    """The evidence beside a folder; empty if there is none, or if it is no evidence."""
    try:
        fd = os.open(os.path.join(directory, f"{name}.json"), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            body = file.read(_MOST_EVIDENCE + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
        value = json.loads(body) if len(body) <= _MOST_EVIDENCE else None
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _place(directory: str, segment: str) -> str:
    """What is where the segment was: `free`, `begun` (chromadb's new files, still without an id list) or `taken`."""
    path = os.path.join(directory, segment)
    if not os.path.lexists(path):
        return "free"
    if os.path.islink(path) or not os.path.isdir(path):
        return "taken"
    return "taken" if IDS in os.listdir(path) else "begun"


def restore(path: str, name: str, *, apply: bool, force: bool) -> Report:
    """Put a segment that was set aside back in its place; never over files that hold something.

    Files that chromadb began in the meantime and never flushed are set aside in exchange: their vectors are in the
    queue. Raises NotFound if nothing of this name is set aside, Conflict if its place is taken.
    """
    directory = find(path)
    if directory is None:
        return nothing(KIND, path, f"there is no {DATABASE} in {path}.")
    told = set_aside(name)
    if told is None or name not in folders(directory).aside:
        raise NotFound(f"Nothing named {shown(name)} is set aside in {path}.", hint="`--list` shows what is.")
    segment, place = told[0], _place(directory, told[0])
    source, target = os.path.join(directory, name), os.path.join(directory, segment)
    if place == "taken":
        raise Conflict(
            f"The place of {name} is taken: {segment} has been flushed since, and holds vectors of its own.",
            hint="Keep both: save the texts with `--rescue OUT`, or have all rows embedded again by their owner.",
        )
    chart = Chart(KIND, path, SEEN_AS)
    attend(chart, directory, apply=apply, force=force)
    evidence = _read_evidence(directory, name)
    chart.loses += [] if place == "free" else ["Nothing: the files begun in its place are set aside in exchange."]
    chart.plan.append(Step("put back", target, sum(st["bytes"] for st in digests(source).values())))
    if evidence:
        _compare(chart, source, evidence)
    if apply:
        with changing(directory):
            if place == "begun":
                stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
                why = {"why": f"It stood in the place of {name}.", "contents": digests(target)}
                os.rename(target, os.path.join(directory, _record(directory, f"{segment}.drift-{stamp}", why)))
            os.rename(source, target)
            sync_directory(directory)
        if evidence:
            chart.remarks.append(f"The evidence {name}.json stays.")
    chart.done = apply
    return chart.report(f"{name} is back as {segment}." if apply else f"{name} would be put back; `--apply` does it.")


def _compare(chart: Chart, folder: str, evidence: dict[str, Any]) -> None:
    """Say it if the files are not those that were set aside."""
    then, now = evidence.get("contents"), digests(folder)
    then = then if isinstance(then, dict) else {}
    other = [f for f in sorted({*then, *now}) if _witness(then.get(f)) != _witness(now.get(f))]
    if other:
        chart.notes.append(
            Finding(
                "changed", folder, f"These files are not as they were set aside: {shown(', '.join(other))[:_SHORT]}.",
                "Find out who changed them before you use them.",
            )
        )  # fmt: skip


def _witness(file: Any) -> Any:
    return (file.get("bytes"), file.get("digest")) if isinstance(file, dict) else None


def sync_directory(directory: str) -> None:
    """Make renames in `directory` survive power loss."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def changing(directory: str) -> Iterator[None]:
    """What goes wrong while `directory` is changed, as errors of ours."""
    try:
        yield
    except (PermissionError, apsw.ReadOnlyError, apsw.CantOpenError) as e:
        raise _cannot_write(directory) from e
    except apsw.BusyError as e:
        raise VaultBusy(f"Another process is writing in {directory}.", hint="End it, and try again.") from e
    except (OSError, apsw.FullError) as e:
        if isinstance(e, apsw.FullError) or e.errno == errno.ENOSPC:
            raise DiskFull(f"The disk is full; nothing in {directory} was lost.") from e
        if e.errno == errno.EROFS:
            raise _cannot_write(directory) from e
        raise


def _cannot_write(directory: str) -> ResourceFault:
    return ResourceFault(
        f"{directory} cannot be written.", hint="Make it writable for you, or copy it and cure the copy."
    )
