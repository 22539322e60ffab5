"""Examines a Chroma directory and puts what it finds into words."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import apsw

from holdfast.clinic.chroma.case import AHEAD, BEHIND, DAMAGED, EMPTY, HEALTHY, LOST, Case, look, shown, witness
from holdfast.clinic.chroma.graph import LINKS
from holdfast.clinic.chroma.place import DATABASE, find, folders, opened
from holdfast.clinic.chroma.tables import Collection, collections, is_palace
from holdfast.clinic.holders import holders
from holdfast.clinic.report import Chart, Report, nothing, shell
from holdfast.results import Finding

KIND, SEEN_AS = "chroma", "segments"
_LOOKS = 3
_HOLDERS = 3
Broken = (apsw.Error, UnicodeDecodeError)
"""What reading a damaged database raises."""

_SILENT = (
    "Without its graph files chromadb 1.5.9 opens and says nothing: texts and counts stay whole, it puts back only the"
    " vectors that still wait in its queue, and search does not find the others; nothing is rebuilt by itself."
)
_TORN = (
    "chromadb 1.5.9 often opens such files once and answers well; at its next flush it writes link lists of terabytes"
    " and dies. Add nothing to it before it is cured."
)
_BEGUN = (
    "chromadb begins such files anew at its next start, and then the vectors in them are gone: copy the directory, or"
    " use `--quarantine`, before you open it again."
)
_CONTENT = "Whether a vector still fits the text of its row cannot be told from the files."


def examine(path: str, *, stale_seconds: float | None = None) -> Report:
    """What is wrong with the Chroma directory `path`, and what helps. Changes nothing.

    With `stale_seconds` the gap of the file times is shown too; it decides nothing, for a healthy graph that waits for
    its next flush is as old as one that drifted. Takes a few seconds and about 60 MB for 100,000 rows.
    """
    directory = find(path)
    if directory is None:
        return nothing(KIND, path, f"there is no {DATABASE} in {path}.")
    chart = Chart(KIND, path, SEEN_AS)
    for holder in holders(directory).found[:_HOLDERS]:
        chart.unknown.append(
            f"{shown(holder)} has the files open: a flush at work looks like damage, so end it and look again before"
            f" you believe bad news."
        )
    counts: Counter[str] = Counter()
    for case, palace in cases(directory, chart):
        counts[case.verdict] += 1
        _note(chart, directory, case, palace)
        if stale_seconds is not None:
            _times(chart, directory, case, stale_seconds)
    if counts:
        chart.unknown.append(_CONTENT)
    return chart.report(_summary(counts, chart))


def cases(directory: str, chart: Chart) -> Iterator[tuple[Case, bool]]:
    """The case of each collection, and whether MemPalace wrote the database.

    What cannot be read goes into `chart`, as do folders that belong to no collection.
    """
    try:
        with opened(directory) as db:
            try:
                found = collections(db)
                palace = is_palace(db, found)
            except Broken as e:
                _unreadable(chart, directory, "its list of collections", e)
                return
            for collection in found:
                if collection.vector is None:
                    chart.remarks.append(f"Collection {shown(collection.name)} has no graph on this disk.")
                    continue
                try:
                    case = _look_at_rest(chart, db, directory, collection)
                except Broken as e:
                    _unreadable(chart, directory, f"the rows of collection {shown(collection.name)}", e)
                    continue
                yield case, palace
            _orphans(chart, directory, db)
    except Broken as e:
        _unreadable(chart, directory, "the file", e)


def _look_at_rest(chart: Chart, db: apsw.Connection, directory: str, collection: Collection) -> Case:
    """The case of `collection`, again if its owner wrote meanwhile: a flush moves vectors from place to place."""
    for _ in range(_LOOKS):
        now = next((c for c in collections(db) if c.id == collection.id), collection)
        before = witness(directory, now)
        case = look(db, directory, now)
        if witness(directory, now) == before:
            return case
    chart.unknown.append(
        f"Collection {shown(collection.name)} was written to while it was looked at: end the program and look again"
        f" before you believe what is said of it."
    )
    return case


def entry(case: Case) -> dict[str, Any]:
    """The case as a mapping for JSON."""
    g = case.graph
    return {
        "collection": shown(case.collection.name),
        "segment": case.segment,
        "verdict": case.verdict,
        "what": what(case),
        "rows": case.rows,
        "entries": case.entries,
        "missing": case.missing,
        "ghosts": case.ghosts,
        "queued": case.queued,
        "only_in_graph": case.only_in_graph,
        "files": bool(g.files),
        "bytes": g.bytes,
        "disk_bytes": g.disk_bytes,
        "dimension": case.collection.dimension,
        "sync_threshold": case.collection.threshold,
        "max_seq_id": case.collection.vector_seq,
    }


def what(case: Case) -> str:
    """What is wrong, or why nothing is, in one sentence."""
    wait = f"{case.queued:,} changes wait in the queue for the next flush"
    if case.verdict == EMPTY:
        return "It has no rows and no entries."
    if case.verdict == HEALTHY:
        return f"Every row has its vector{f'; {wait}, as they should' if case.queued else ''}."
    drift = _drift(case)
    if case.verdict in (BEHIND, AHEAD):
        return f"{_sentence(drift)}"
    if case.verdict == LOST:
        where = "files that were set aside may hold them" if case.aside else "they are gone with it"
        gone = f"{case.missing:,} of {case.rows:,} vectors were in it and left the queue long ago"
        return f"There is no graph: {gone}; {where}."
    parts = list(case.wrong)
    if case.is_torn:
        parts.insert(0, "a flush was cut off half way (the program was killed, or the disk was full)")
    return _sentence("; ".join(parts + ([drift] if case.entries and drift else [])))


def _drift(case: Case) -> str:
    parts = []
    if case.missing:
        spared = (
            f" ({case.spared:,} of them still in a part of the queue that is not read again)" if case.spared else ""
        )
        parts.append(f"{case.missing:,} of {case.rows:,} rows have no vector in the graph and none waits{spared}")
    if case.ghosts:
        parts.append(f"the graph has {case.ghosts:,} entries that are no rows any more, and search returns them")
    return "; ".join(parts)


def _sentence(text: str) -> str:
    """`text` with a full stop, and a capital unless a file's name begins it."""
    return f"{text}." if "." in text.split(" ", 1)[0] else f"{text[:1].upper()}{text[1:]}."


def silent() -> str:
    """What chromadb does without the graph files (measured; tests/clinic/test_chroma_after.py)."""
    return _SILENT


def losses(case: Case) -> list[str]:
    """What is lost if the files of this segment are not used any more."""
    name = shown(case.collection.name)
    if case.verdict == DAMAGED and not case.entries:
        gone = case.rows - case.kept
        if not gone:
            return []
        return [f"{gone:,} vectors of collection {name} are not in the queue; they must be embedded again."]
    if not case.only_in_graph:
        return []
    return [
        f"{case.only_in_graph:,} vectors of collection {name} exist only in these files; they must be embedded again."
    ]


def _note(chart: Chart, directory: str, case: Case, palace: bool) -> None:
    chart.seen.append(entry(case))
    chart.remarks += case.remarks
    if case.graph.unchecked:
        chart.unknown.append(case.graph.unchecked)
    name = shown(case.collection.name)
    if case.verdict not in (HEALTHY, EMPTY):
        chart.wrong.append(
            Finding(case.verdict, case.segment, f"Collection {name}: {what(case)}", _cure(directory, case, palace))
        )
        chart.remarks += _effects(case)
    if case.skips_after is not None:
        cure = "Write no more until it is mended; save the texts first (`--rescue OUT`)."
        if palace:
            cure = "`mempalace repair --mode max-seq-id --dry-run` shows it, without --dry-run it mends it."
        chart.wrong.append(
            Finding(
                "poisoned", case.segment,
                f"Collection {name}: its graph is marked as done up to change {case.skips_after:,}, which was never"
                f" written, so all that is added is left out of it.", cure,
            )
        )  # fmt: skip


def _effects(case: Case) -> list[str]:
    """What chromadb 1.5.9 does with such files, as measured (tests/clinic/test_chroma_after.py)."""
    if case.is_torn and case.verdict == DAMAGED:
        return [_TORN]
    if case.verdict == LOST or (case.verdict == DAMAGED and case.graph.entries is None and not case.graph.hostile):
        begun = [_BEGUN] if case.verdict == DAMAGED else []
        return [_SILENT, *begun]
    if case.verdict == AHEAD:
        return ["Search returns the ghosts with no text, in the place of rows that are there."]
    if case.verdict == BEHIND:
        return ["Search does not find these rows, and reading vectors fails with `Error finding id`."]
    return []


def _cure(directory: str, case: Case, palace: bool) -> str:
    where = shell(directory) if directory.isprintable() else "DIR"
    if case.is_only_bloated:
        links = shell(os.path.join(directory, case.segment, LINKS))
        return (
            f"chromadb reads only the first {case.graph.links_end:,} bytes of it: `truncate -s {case.graph.links_end}"
            f" {links}` gives the rest back and loses nothing (stop the program first)."
        )
    steps = [f"Save the texts first: `holdfast clinic chroma {where} --rescue OUT`"]
    if case.can_be_refilled:
        steps.append(
            f"then `holdfast clinic chroma {where} --refill` says how many vectors the"
            f" {'files that were set aside' if case.aside else 'old files'} still hold, and has chromadb build a new"
            f" graph of them without embedding"
        )
    if palace:
        steps.append(
            f"or `mempalace --palace {where} repair --mode from-sqlite --archive-existing` embeds all rows again from"
            f" the database and keeps the old directory"
        )
    else:
        steps.append("or read the rows with `get` and add them to a new collection, which embeds them again")
    if case.can_be_set_aside:
        steps.append("`--quarantine` only sets the files aside, which takes their vectors out of search")
    return "; ".join(steps) + "."


def _unreadable(chart: Chart, directory: str, part: str, error: Exception) -> None:
    place = shown(os.path.join(directory, DATABASE))
    chart.wrong.append(
        Finding(
            "database", None, f"The database {place} is damaged in {part}: {shown(error)}.",
            "Copy the directory, then save what can be read: `holdfast clinic chroma DIR --rescue OUT`.",
        )
    )  # fmt: skip
    chart.unknown.append(f"What stands in {part} could not be compared with the graph.")


def _orphans(chart: Chart, directory: str, db: apsw.Connection) -> None:
    """Folders of collections that are gone, and what was set aside: worth knowing, nothing wrong."""
    here = folders(directory)
    known = {str(key) for (key,) in db.execute("SELECT id FROM segments")}
    left = [name for name in here.segments if name not in known]
    if left:
        count = f"{len(left)} folders belong" if len(left) > 1 else "1 folder belongs"
        chart.remarks.append(f"{count} to no collection (left by deleted ones): {', '.join(left[:3])}.")
    if here.aside:
        n = len(here.aside)
        chart.remarks.append(f"{n} {'segment is' if n == 1 else 'segments are'} set aside; `--list` shows what.")


def _times(chart: Chart, directory: str, case: Case, limit: float) -> None:
    """The file time gap, as information."""
    if not case.graph.newest_ns:
        return
    gap = (os.stat(os.path.join(directory, DATABASE)).st_mtime_ns - case.graph.newest_ns) / 1e9
    over = "over" if gap > limit else "within"
    chart.remarks.append(
        f"Collection {shown(case.collection.name)}: the database is {gap:,.0f} s newer than its graph files ({over} the"
        f" {limit:,.0f} s asked about); this says nothing about their health."
    )


def _summary(counts: Counter[str], chart: Chart) -> str:
    if not counts:
        return "The database cannot be read." if chart.wrong else "There are no collections."
    order = (DAMAGED, LOST, BEHIND, AHEAD, HEALTHY, EMPTY)
    parts = ", ".join(f"{counts[v]} {v}" for v in order if counts[v])
    total = sum(counts.values())
    return f"{total} {'segment' if total == 1 else 'segments'}: {parts}."
