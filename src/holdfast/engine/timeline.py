"""What began and what ended, in order of time: dated facts and the dates of notes.

Dates are stored as text, so all of them are looked at for each page; only those of the page are held, and only its
notes are read. Turns of conversations are left out: there are too many, and `recall` finds them by time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from heapq import nsmallest

from holdfast.engine.facts import BEGINNING, END, Subject, covered, date, find_subject, relations_in, said
from holdfast.engine.lines import Reader, check_limit
from holdfast.engine.times import rfc3339
from holdfast.engine.workspace import Workspace
from holdfast.errors import QueryError
from holdfast.files.paths import safe_path
from holdfast.graph import Event, Timeline
from holdfast.index.base import Index
from holdfast.index.graph import Dated
from holdfast.model import Parsed, Relation, fold, key_path, show_path, sort_key
from holdfast.text.frontmatter import first_text

PAGE = 5_000
NOTE_DATES = ("created", "valid_from", "valid_to")

Moment = tuple[int, bytes, int, int]
"""(ns, key of the note, line, rank): the order of events. Line 0 is the note itself."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A date that something begins or ends at. `rank` is its place among those of one line."""

    at: Moment
    note: int
    text: str
    """As the index has it: of a note's date folded."""

    @property
    def is_end(self) -> bool:
        return self.at[3] == (2 if self.at[2] == 0 else 1)


def timeline(
    ws: Workspace,
    index: Index,
    subject: str | None = None,
    *,
    since: str | None = None,
    until: str | None = None,
    limit: int = 50,
    after: str = "",
) -> Timeline:
    """Dated facts and notes in order of time, `limit` of them behind `after`; with a subject those that concern it.

    Each page costs a look at every date of the vault, or of the subject's notes.
    """
    check_limit(limit)
    lo = date("since", since)[0] if since is not None else BEGINNING
    hi = date("until", until)[1] if until is not None else END
    if lo >= hi:
        raise QueryError(f"since {since} comes after until {until}.", hint="Give the earlier date first.")
    behind = _moment(ws, after) if after else None
    degraded: list[str] = []
    with index.snapshot():
        marks = _Marks(ws, index, subject)
        page = nsmallest(
            limit + 1,
            (m for m in marks.run() if lo <= m.at[0] < hi and (behind is None or m.at > behind)),
            key=lambda m: m.at,
        )
        rows = index.notes({m.note for m in page})
    reader = Reader(ws, degraded)
    notes: dict[int, Parsed | None] = {}
    out = []
    for mark in page[:limit]:
        if mark.note not in notes:
            row = rows.get(mark.note)
            notes[mark.note] = reader.parsed(row.key, row.digest) if row is not None else None
        parsed = notes[mark.note]
        if parsed is not None and (event := _event(mark, parsed)) is not None:
            out.append(event)
    more = None
    if len(page) > limit:
        ns, key, line, rank = page[limit - 1].at
        more = f"{ns}:{line}:{rank}:{show_path(key_path(key))}"
    return Timeline(tuple(out), more, tuple(degraded))


def _moment(ws: Workspace, after: str) -> Moment:
    parts = after.split(":", 3)
    if len(parts) < 4 or not all(p.removeprefix("-").isdecimal() and len(p) <= 20 for p in parts[:3]):
        raise QueryError(f"“{after[:80]}” is no place to go on from.", hint="Pass the `next` of the page before.")
    return int(parts[0]), sort_key(safe_path(ws.root, parts[3])), int(parts[1]), int(parts[2])


class _Marks:
    """Every date of the vault, or of what concerns a subject."""

    def __init__(self, ws: Workspace, index: Index, subject: str | None) -> None:
        self._index = index
        self._subject: Subject | None = find_subject(ws, index, subject) if subject is not None else None

    @cached_property
    def _keys(self) -> dict[int, bytes]:
        if self._subject is None:
            return dict(self._index.graph.note_keys())
        return {**dict(self._subject.notes), **{note: key for note, key, _ in self._subject.links}}

    def run(self) -> Iterator[_Mark]:
        for fact in self._facts():
            yield from self._of_fact(fact)
        own = [note for note, _ in self._subject.notes] if self._subject is not None else None
        for note, name, value in self._index.graph.stated(NOTE_DATES, own):
            found = covered(value.upper())  # an instant's T and Z were folded
            if found is not None and note in self._keys:
                rank = NOTE_DATES.index(name)
                yield _Mark((found[1] - 1 if rank == 2 else found[0], self._keys[note], 0, rank), note, value)

    def _facts(self) -> Iterator[Dated]:
        graph = self._index.graph
        if self._subject is None:
            at = (-1, -1)
            while page := graph.dated(at, PAGE):
                yield from page
                at = page[-1].note, page[-1].ord
            return
        yield from graph.facts_of([note for note, _ in self._subject.notes])
        inverse = relations_in(self._index, self._subject)
        lines = {(n, x.line) for n, pairs in inverse.items() for x in self._index.links_from(n)
                 if (x.relation, x.target) in pairs}  # fmt: skip
        yield from (f for f in graph.facts_of(inverse) if f.kind == "relation" and (f.note, f.line) in lines)

    def _of_fact(self, fact: Dated) -> Iterator[_Mark]:
        begin, end = (covered(text) if text else None for text in (fact.valid_from, fact.valid_to))
        if fact.note not in self._keys or (begin and end and begin[0] >= end[1]):
            return  # a `to` before its `from` bounds nothing
        key = self._keys[fact.note]
        if begin:
            yield _Mark((begin[0], key, fact.line, 0), fact.note, fact.valid_from or "")
        if end:
            yield _Mark((end[1] - 1, key, fact.line, 1), fact.note, fact.valid_to or "")


def _event(mark: _Mark, parsed: Parsed) -> Event | None:
    """The event in the words of its note; None where the note says something else by now."""
    ns, key, line, rank = mark.at
    path, event = show_path(key_path(key)), "ends" if mark.is_end else "begins"
    if line == 0:
        name = NOTE_DATES[rank]
        stated = first_text(parsed.frontmatter.get(name))
        if stated is None or fold(stated.strip()) != mark.text:
            return None
        return Event(rfc3339(ns), stated, event, path, 0, "note", name, parsed.title)
    for x in said(parsed):
        written = x.valid_to if mark.is_end else x.valid_from
        if x.line == line and written == mark.text:
            if isinstance(x, Relation):
                return Event(rfc3339(ns), written, event, path, line, "relation", x.type, x.target)
            return Event(rfc3339(ns), written, event, path, line, "observation", x.category, x.content)
    return None
