"""What questions about links, facts and time return: frozen, with the names of the JSON they become.

Paths are as people see them (model.show_path). `text` is None where a note cannot be read now. `next` is what to pass
as `after` for the next page, None at the end. `degraded` says in words what was left out, and why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from holdfast.model import plain
from holdfast.results import Result


@dataclass(frozen=True, slots=True)
class Backlink(Result):
    """A line that links to a note. `kind` is relation, embed or link; `heading` and `block` are what it points at."""

    path: str
    line: int
    title: str
    kind: str
    relation: str | None
    heading: str | None
    block: str | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Backlinks(Result):
    """The links to the note at `path`, by path and line; `total` of all, whatever the page."""

    path: str
    links: tuple[Backlink, ...]
    total: int
    next: str | None
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outlink(Result):
    """A link of a note: `state` is resolved, ambiguous or dangling, `to` the path or all candidates."""

    line: int
    target: str
    kind: str
    relation: str | None
    heading: str | None
    block: str | None
    state: str
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outgoing(Result):
    """The links of the note at `path`, in reading order; `total` of all, whatever the page."""

    path: str
    links: tuple[Outlink, ...]
    total: int
    next: str | None


@dataclass(frozen=True, slots=True)
class Mention(Result):
    """A line that has a note's title or alias (`name`) and stands in a note without a link to it."""

    path: str
    line: int
    title: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Mentions(Result):
    """Notes that mention the note at `path` and do not link to it, newest first, one line of each."""

    path: str
    mentions: tuple[Mention, ...]
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spot(Result):
    """A line of a note."""

    path: str
    line: int


@dataclass(frozen=True, slots=True)
class Tangle(Result):
    """A target that leads nowhere (no `candidates`) or to several notes: how many links have it, the first of them."""

    target: str
    links: int
    places: tuple[Spot, ...]
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problems(Result):
    """What is wrong with the links of a vault; a page of it, dangling first, then ambiguous, then orphans.

    Targets are ordered by the number of their links, orphans (notes without links from or to another) by path. The
    counts are of the whole vault.
    """

    dangling: tuple[Tangle, ...]
    ambiguous: tuple[Tangle, ...]
    orphans: tuple[str, ...]
    dangling_count: int
    ambiguous_count: int
    orphan_count: int
    links: int
    next: str | None


@dataclass(frozen=True, slots=True)
class Why(Result):
    """A link that brought a note in: where it stands, its relation if it is one, and whether it points to the note."""

    path: str
    line: int
    relation: str | None
    points_here: bool


@dataclass(frozen=True, slots=True)
class Piece(Result):
    """Lines of a note near the one asked for. `links` counts those between it and the notes one step nearer."""

    path: str
    line: int
    count: int
    title: str
    distance: int
    links: int
    why: tuple[Why, ...]
    text: str | None


@dataclass(frozen=True, slots=True)
class Context(Result):
    """Notes, what they link to and what links to them, nearest first; `tokens` is the size of all of it as JSON."""

    notes: tuple[str, ...]
    pieces: tuple[Piece, ...]
    tokens: int
    degraded: tuple[str, ...] = ()


def _dated(value: Result) -> dict[str, Any]:
    out: dict[str, Any] = plain(value)
    out["from"], out["to"] = out.pop("valid_from"), out.pop("valid_to")
    return out


@dataclass(frozen=True, slots=True)
class Fact(Result):
    """An observation or relation, in the words of its note.

    `kind` is observation or relation, `label` the category or the type. `target_path` is the note that the target
    names, None if none or several. `inverse` says that it stands in another note and points to the subject; `holds`
    whether it is true now.
    """

    path: str
    line: int
    kind: str
    label: str | None
    content: str | None
    target: str | None
    target_path: str | None
    context: str | None
    tags: tuple[str, ...]
    valid_from: str | None
    valid_to: str | None
    holds: bool
    inverse: bool

    def to_dict(self) -> dict[str, Any]:
        return _dated(self)


@dataclass(frozen=True, slots=True)
class Facts(Result):
    """What is known of `subject` as of a date (None: at any time): of its notes first, then what points to them."""

    subject: str
    notes: tuple[str, ...]
    as_of: str | None
    facts: tuple[Fact, ...]
    degraded: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {**plain(self), "facts": [fact.to_dict() for fact in self.facts]}


@dataclass(frozen=True, slots=True)
class Event(Result):
    """A fact, or a note (`line` 0), that begins or ends. `date` is as written, `at` the moment that it means.

    What ends does so at the last moment of its date. `label` is a category, a relation's type, or the frontmatter key;
    `text` the content or target, of a note its title.
    """

    at: str
    date: str
    event: str
    path: str
    line: int
    kind: str
    label: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Timeline(Result):
    """Events in order of time."""

    events: tuple[Event, ...]
    next: str | None
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim(Result):
    """One of two values that cannot both be true."""

    path: str
    line: int
    value: str
    valid_from: str | None
    valid_to: str | None

    def to_dict(self) -> dict[str, Any]:
        return _dated(self)


@dataclass(frozen=True, slots=True)
class Contradiction(Result):
    """Two values of what has one at a time, both valid over some time; `one` begins first."""

    label: str
    kind: str
    one: Claim
    other: Claim

    def to_dict(self) -> dict[str, Any]:
        return {"label": self.label, "kind": self.kind, "one": self.one.to_dict(), "other": self.other.to_dict()}


@dataclass(frozen=True, slots=True)
class Contradictions(Result):
    """What contradicts itself, by path and line of the later claim."""

    findings: tuple[Contradiction, ...]
    next: str | None
    degraded: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {**plain(self), "findings": [f.to_dict() for f in self.findings]}


@dataclass(frozen=True, slots=True)
class Usage(Result):
    """How often something is used in notes of a type: in how many of them, what `kinds` of value it has, which ones.

    `values` are all of them where they are few, else empty; of a relation they are the types of its targets.
    """

    name: str
    notes: int
    share: float
    kinds: tuple[str, ...]
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inferred(Result):
    """What notes of a type have: fields of the header, categories of observations, types of relations."""

    type: str
    notes: int
    fields: tuple[Usage, ...]
    categories: tuple[Usage, ...]
    relations: tuple[Usage, ...]


@dataclass(frozen=True, slots=True)
class Breach(Result):
    """A note that is not as its schema says."""

    path: str
    line: int
    message: str
    strict: bool


@dataclass(frozen=True, slots=True)
class SchemaCheck(Result):
    """Notes of types that have a schema, compared with it; `ok` unless a strict one is broken."""

    ok: bool
    schemas: tuple[str, ...]
    notes: int
    breaches: tuple[Breach, ...]


@dataclass(frozen=True, slots=True)
class SchemaDiff(Result):
    """A schema beside what its notes have: `unused` is declared and never there, `undeclared` the other way round."""

    type: str
    schema: str
    unused: tuple[str, ...]
    undeclared: tuple[str, ...]
    outside: tuple[str, ...]
