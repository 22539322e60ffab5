"""One file's bytes -> what its format says: the entry to the parser.

Pure and total: no I/O, no clock, and no input raises. Time is linear in the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from holdfast.model import Parsed, Problem, Turn, Value, show_path
from holdfast.text import frontmatter, tags
from holdfast.text.dates import is_date
from holdfast.text.links import wikilink
from holdfast.text.markdown import Body, Heading, walk
from holdfast.text.permalink import permalink, stem
from holdfast.text.runs import Runs
from holdfast.text.source import PROBLEMS, Source, decode
from holdfast.text.turns import marker

TRUST = ("own", "imported", "agent", "external")
"""How far a note may be believed, from most to least as the format lists them."""

_DATES = ("created", "modified", "valid_from", "valid_to")


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed note and what the chunker needs of its text. Lines are given by index, from 0."""

    source: Source
    first: int
    """Where the body begins."""
    headings: list[Heading]
    parsed: Parsed
    limit: str
    """Which limit of the format the header is over, "" if none."""
    runs: Runs

    @property
    def is_conversation(self) -> bool:
        return self.parsed.type == "conversation"


def parse(data: bytes, path: str) -> Document:
    """What the note with these bytes says; `path` is relative to the vault, with `/`, as `os.fsdecode` gives it."""
    source = decode(data)
    lines = source.lines
    header = frontmatter.read(lines)
    values = header.values
    kind = frontmatter.first_text(values.get("type")) or "note"
    turns: tuple[Turn, ...] = ()
    if kind == "conversation" or header.failed:
        turns = _turns(lines, header.body)
        kind = "conversation" if turns else kind
    runs = Runs(lines, header.body)
    body = walk(lines, header.body, turns[0].line - 1 if turns else len(lines), runs)
    problems = [*source.problems, *header.problems, *_value_problems(header), *_turn_problems(turns), *body.problems]
    problems.sort(key=lambda problem: problem.line)
    parsed = Parsed(
        title=frontmatter.first_text(values.get("title")) or _heading_title(body) or show_path(stem(path)),
        type=kind,
        permalink=frontmatter.first_text(values.get("permalink")) or permalink(path),
        tags=tags.once([*tags.stated(values.get("tags")), *body.tags]),
        aliases=_aliases(values.get("aliases")),
        frontmatter=values,
        observations=tuple(body.observations),
        relations=tuple(body.relations),
        links=(*header.links, *body.links),
        turns=turns,
        problems=tuple(problems),
        trust=_trust(header, kind),
    )
    return Document(source, header.body, body.headings, parsed, header.limit, runs)


def _turns(lines: Sequence[str], first: int) -> tuple[Turn, ...]:
    found = (marker(lines[n], n + 1) for n in range(first, len(lines)) if lines[n].startswith("<!--"))
    return tuple(turn for turn in found if turn)


def _turn_problems(turns: tuple[Turn, ...]) -> list[Problem]:
    found = (
        Problem(turn.line, f"turn {turn.n} does not come after turn {before.n}: number turns upwards")
        for before, turn in pairwise(turns)
        if turn.n <= before.n
    )
    return list(islice(found, PROBLEMS))


def _value_problems(header: frontmatter.Header) -> list[Problem]:
    """What is wrong with dates and trust in the frontmatter, which are kept as they are."""
    problems = []
    for key in _DATES:
        value = header.values.get(key)
        if value is not None and not _is_date_value(value):
            problems.append(Problem(header.lines[key], f"{key} is no ISO date: write it as 2024-01-31"))
    trust = header.values.get("trust")
    if isinstance(trust, dict) or frontmatter.first_text(trust) not in (*TRUST, None):
        problems.append(Problem(header.lines["trust"], f"trust is none of {', '.join(TRUST)}"))
    return problems


def _is_date_value(value: Value) -> bool:
    if isinstance(value, dict):
        return False
    text = frontmatter.first_text(value)
    if text is None:
        return True
    if text.startswith("[[") and text.endswith("]]"):
        link = wikilink(text[2:-2].partition("|")[0], 0)
        text = link.target if link else text
    return is_date(text)


def _heading_title(body: Body) -> str | None:
    return next((heading.text for heading in body.headings if heading.level == 1 and heading.text), None)


def _aliases(value: Value) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else tags.texts(value)
    return tuple(text for item in items if (text := item.strip()))


def _trust(header: frontmatter.Header, kind: str) -> str:
    stated = frontmatter.first_text(header.values.get("trust"))
    if stated in TRUST:
        return stated
    if header.failed:
        return "external"
    return "imported" if kind == "conversation" else "own"
