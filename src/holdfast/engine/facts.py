"""What is known of a subject, when it was so, and what contradicts itself: from the structured lines of notes.

The index says where facts stand and when they hold; their words come from the notes, parsed at the moment of asking.
A fact holds from the beginning of its `from` to the end of its `to`; an end that is not given, or is no date, is open,
and a `to` before its `from` bounds nothing (docs/format.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from holdfast.engine.lines import Reader, check_limit
from holdfast.engine.links import links_to
from holdfast.engine.read import address
from holdfast.engine.resolve import Resolver
from holdfast.engine.times import bounds
from holdfast.engine.workspace import Workspace
from holdfast.errors import NotFound, QueryError
from holdfast.files.paths import safe_path
from holdfast.graph import Claim, Contradiction, Contradictions, Fact, Facts
from holdfast.index.base import Index
from holdfast.index.graph import Dated
from holdfast.model import Observation, Parsed, Relation, fold, key_path, show_path, sort_key
from holdfast.text.names import tail

SINGLE = frozenset({"lives_in", "married_to", "born_on", "status", "employer", "current_*"})
"""What has one value at a time, unless told otherwise; `*` stands for any letters. Others, `knows` or `works_on`, may
have several at once."""

BEGINNING, END = -(1 << 63), (1 << 63) - 1

Span = tuple[int, int]
"""Nanoseconds [first, first after)."""


@lru_cache(maxsize=4_096)
def covered(text: str) -> Span | None:
    """What a date covers, None if it is none; a vault has few dates and many facts."""
    return bounds(text)


def span(valid_from: str | None, valid_to: str | None) -> Span:
    """When a fact with these dates holds."""
    begin, end = (covered(text) if text else None for text in (valid_from, valid_to))
    first, last = begin[0] if begin else BEGINNING, end[1] if end else END
    return (first, last) if first < last else (BEGINNING, END)


def date(name: str, text: str) -> Span:
    """What a date covers that was asked for as `name`; raises QueryError where it is none."""
    found = bounds(text.strip())
    if found is None:
        raise QueryError(
            f"{name} {text[:80]!r} is not a date.", hint="Write it as a year, month, day or instant, such as 2026-03."
        )
    return found


@dataclass(frozen=True, slots=True)
class Subject:
    """What a subject names: its notes (id, key), and links of others that lead to them as (note id, key, ord)."""

    notes: list[tuple[int, bytes]]
    links: list[tuple[int, bytes, int]]


def find_subject(ws: Workspace, index: Index, subject: str) -> Subject:
    """Everything that is called `subject`: path, permalink, title, alias, or else links to what has no note yet.

    Raises NotFound where there is nothing. Within a snapshot.
    """
    path = address(ws, subject)
    row = index.note_by_key(sort_key(path)) if path is not None else None
    name = subject.strip().removeprefix("memory://")
    plain = name.encode("utf-8", "replace").decode()  # a lone surrogate is no text, and SQLite takes none
    keys = {row.id: row.key} if row is not None else index.keys(Resolver(index).resolve(plain))
    links = [
        (source, key, at)
        for note, own in keys.items()
        for key, at, source in links_to(index, note, show_path(key_path(own)))
    ]
    if not keys:
        links = [
            (source, key, at)
            for key, at, target, relative, source in index.graph.sources([tail(plain)])
            if not relative and fold(target.strip("/")) == fold(plain.strip("/"))
        ]
        if not links:
            raise NotFound(
                f"Nothing is called “{subject[:80]}”.", hint="Name a note by its path, permalink, title or an alias."
            )
    return Subject(sorted(keys.items(), key=lambda note: note[1]), sorted(set(links), key=lambda x: (x[1], x[2])))


def relations_in(index: Index, subject: Subject) -> dict[int, set[tuple[str, str]]]:
    """By note what relations of it lead to the subject: (type, target)."""
    own = {note for note, _ in subject.notes}
    places = [(source, at) for source, _, at in subject.links if source not in own]
    out: dict[int, set[tuple[str, str]]] = {}
    for (source, _), link in zip(places, index.graph.links(places), strict=True):
        if link is not None and link.relation is not None:
            out.setdefault(source, set()).add((link.relation, link.target))
    return out


def facts(ws: Workspace, index: Index, subject: str, *, as_of: str | None = None, limit: int = 200) -> Facts:
    """Observations and relations of what `subject` names, and relations of others that point to it.

    With `as_of` only those that hold at the end of that date. At most `limit` of them; what is more is said.
    """
    check_limit(limit)
    at_ns = date("as_of", as_of)[1] - 1 if as_of is not None else None
    degraded: list[str] = []
    with index.snapshot():
        found = find_subject(ws, index, subject)
        inverse = relations_in(index, found)
        rows = index.notes({*(note for note, _ in found.notes), *inverse})
    resolver, reader, now_ns = Resolver(index), Reader(ws, degraded), ws.fs.time_ns()
    order = [note for note, _ in found.notes]
    order += sorted((n for n in inverse if n in rows), key=lambda n: rows[n].key)
    out: list[Fact] = []
    for at, note in enumerate(order):
        row = rows.get(note)
        parsed = reader.parsed(row.key, row.digest) if row is not None else None
        if row is None or parsed is None:
            continue
        for x in said(parsed):
            holds = span(x.valid_from, x.valid_to)
            is_meant = note not in inverse or (isinstance(x, Relation) and (x.type, x.target) in inverse[note])
            if is_meant and (at_ns is None or holds[0] <= at_ns < holds[1]):
                out.append(_fact(index, resolver, row.key, x, holds[0] <= now_ns < holds[1], note in inverse))
        if len(out) > limit or (len(out) == limit and at + 1 < len(order)):
            degraded.append(f"there are more facts than {limit}; ask as of a date, or for more")
            break
    paths = tuple(show_path(key_path(key)) for _, key in found.notes)
    return Facts(subject, paths, as_of, tuple(out[:limit]), tuple(degraded))


def said(parsed: Parsed) -> list[Observation | Relation]:
    """The observations and relations of a note, by line."""
    found: list[Observation | Relation] = [*parsed.observations, *parsed.relations]
    return sorted(found, key=lambda x: x.line)


def _fact(index: Index, resolver: Resolver, key: bytes, x: Observation | Relation, holds: bool, inverse: bool) -> Fact:
    target = to = None
    if isinstance(x, Relation):
        target = x.target
        notes = resolver.resolve(target)
        key_of = index.keys(notes).get(notes[0]) if len(notes) == 1 else None
        to = show_path(key_path(key_of)) if key_of is not None else None
    is_relation = isinstance(x, Relation)
    return Fact(
        path=show_path(key_path(key)), line=x.line, kind="relation" if is_relation else "observation",
        label=x.type if isinstance(x, Relation) else x.category, content=None if isinstance(x, Relation) else x.content,
        target=target, target_path=to, context=x.context, tags=() if isinstance(x, Relation) else x.tags,
        valid_from=x.valid_from, valid_to=x.valid_to, holds=holds, inverse=inverse,
    )  # fmt: skip


def is_single(label: str, single: Iterable[str]) -> bool:
    """Whether a category or relation type has one value at a time; case, and blank, `-` or `_`, make no difference."""
    plain = _plain(label)
    return any(fnmatchcase(plain, _plain(pattern)) for pattern in single)


def _plain(label: str) -> str:
    return fold(label.strip()).replace(" ", "_").replace("-", "_")


def contradictions(
    ws: Workspace, index: Index, *, single: frozenset[str] = SINGLE, limit: int = 50, after: str = ""
) -> Contradictions:
    """Different values of one thing in one note that hold at once, where it has one value at a time.

    A claim is held against the earlier one that lasts longest and says something else, so that a thousand claims give
    a thousand findings at most. Only notes that may hold one are read, and no more of them than the page needs.
    """
    check_limit(limit)
    behind = _place(ws, after) if after else (b"", 0)
    degraded: list[str] = []
    with index.snapshot():
        labels = [label for label in index.graph.labels() if is_single(label, single)]
        suspects = _suspects(index.graph.labelled(labels) if labels else ())
        rows = index.notes(suspects)
    reader, resolver = Reader(ws, degraded), Resolver(index)
    out: list[tuple[tuple[bytes, int], Contradiction]] = []
    for row in sorted(rows.values(), key=lambda r: r.key):
        if row.key < behind[0]:
            continue
        parsed = reader.parsed(row.key, row.digest)
        found = _clashes(parsed, show_path(key_path(row.key)), single, resolver) if parsed is not None else ()
        out += [((row.key, c.other.line), c) for c in found if (row.key, c.other.line) > behind]
        if len(out) > limit:
            break
    more = None
    if len(out) > limit:
        key, line = out[limit - 1][0]
        more = f"{show_path(key_path(key))}:{line}"
    return Contradictions(tuple(c for _, c in out[:limit]), more, tuple(degraded))


def _place(ws: Workspace, after: str) -> tuple[bytes, int]:
    path, colon, line = after.rpartition(":")
    if not colon or not line.isdecimal() or len(line) > 9:
        raise QueryError(f"“{after[:80]}” is no place to go on from.", hint="Pass the `next` of the page before.")
    return sort_key(safe_path(ws.root, path)), int(line)


def _suspects(found: Sequence[Dated] | tuple[()]) -> set[int]:
    """Notes with two facts of one kind and label that hold at once; whether they differ, their words say."""
    last: dict[tuple[int, str, str], int] = {}
    out: set[int] = set()
    for fact in sorted(found, key=lambda f: span(f.valid_from, f.valid_to)):
        begin, end = span(fact.valid_from, fact.valid_to)
        at = (fact.note, fact.kind, _plain(fact.label or ""))
        if at in last and begin < last[at]:
            out.add(fact.note)
        last[at] = max(last.get(at, BEGINNING), end)
    return out


def _clashes(parsed: Parsed, path: str, single: frozenset[str], resolver: Resolver) -> list[Contradiction]:
    groups: dict[tuple[bool, str], list[Observation | Relation]] = {}
    for x in said(parsed):
        label = x.type if isinstance(x, Relation) else x.category
        if label and is_single(label, single):
            groups.setdefault((isinstance(x, Relation), _plain(label)), []).append(x)
    out = [c for group in groups.values() if len(group) > 1 for c in _overlaps(group, path, resolver)]
    return sorted(out, key=lambda c: c.other.line)


def _overlaps(group: list[Observation | Relation], path: str, resolver: Resolver) -> Iterator[Contradiction]:
    """One finding for each claim during which an earlier one with another value holds."""
    # The two values that last longest are enough: one of them is another than that of the claim at hand.
    lasting: list[tuple[int, object, Observation | Relation]] = []
    for x in sorted(group, key=lambda x: (*span(x.valid_from, x.valid_to), x.line)):
        begin, end = span(x.valid_from, x.valid_to)
        value = _value(x, resolver)
        other = next((old for until, what, old in lasting if what != value and until > begin), None)
        if other is not None:
            label = x.type if isinstance(x, Relation) else x.category or ""
            kind = "relation" if isinstance(x, Relation) else "observation"
            yield Contradiction(label, kind, _claim(other, path), _claim(x, path))
        same = next((entry for entry in lasting if entry[1] == value), None)
        if same is None or end > same[0]:
            lasting = [entry for entry in lasting if entry is not same] + [(end, value, x)]
        lasting = sorted(lasting, key=lambda entry: -entry[0])[:2]


def _value(x: Observation | Relation, resolver: Resolver) -> object:
    """What two claims must share to say the same: the note that is meant, else the words."""
    if isinstance(x, Observation):
        return fold(" ".join(x.content.split()))
    notes = resolver.resolve(x.target)
    return notes[0] if len(notes) == 1 else fold(x.target)


def _claim(x: Observation | Relation, path: str) -> Claim:
    return Claim(path, x.line, x.target if isinstance(x, Relation) else x.content, x.valid_from, x.valid_to)
