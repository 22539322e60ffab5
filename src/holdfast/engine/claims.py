"""Facts as lines of notes, written: remember one with its time, end one, put another in its place.

Nothing is deleted to record a change: an end is a `[to:: ...]` on the line, a successor is a line of its own below it.
"""

from __future__ import annotations

import re

from holdfast.changes import Written
from holdfast.engine.read import find, usable
from holdfast.engine.times import bounds
from holdfast.engine.workspace import Workspace
from holdfast.engine.write import Terms, change
from holdfast.errors import Conflict, NotFound, QueryError
from holdfast.files import notes
from holdfast.history.rows import By
from holdfast.model import Observation, Parsed, Relation, show_path
from holdfast.text.note import parse

_TO = re.compile(r"\s*[\[(]to::[^\])]*[\])]", re.IGNORECASE)
_BLOCK = re.compile(r"\s+\^[\w-]+\s*$")


def fact_line(text: str, category: str, valid_from: str | None, valid_to: str | None) -> str:
    """A fact as a list item: a relation (`works_at [[Acme]]`) stays one, anything else gets its category."""
    words = text.strip()
    if not words or "\n" in words:
        raise QueryError("A fact is one line of text.", hint='Such as "works_at [[Acme]]" or "likes oat milk".')
    dates = "".join(
        f" [{key}:: {_date(key, value)}]" for key, value in (("from", valid_from), ("to", valid_to)) if value
    )
    is_relation = bool(parse(f"- {words}\n".encode(), "x.md").parsed.relations)
    return f"- {words}{dates}" if is_relation else f"- [{category}] {words}{dates}"


def end(ws: Workspace, place: str, at: str, by: By) -> Written:
    """End the fact at `NOTE:LINE` by a date. Raises NotFound, QueryError, and Conflict where it has ended already."""
    path, line = _place(ws, place)
    _date("at", at)
    return change(ws, path, lambda body: _ended(body, path, line, at), Terms(by))


def supersede(ws: Workspace, place: str, text: str, at: str, by: By) -> Written:
    """End the fact at `NOTE:LINE` and write its successor, valid from then, on the line below."""
    path, line = _place(ws, place)
    _date("at", at)

    def make(body: bytes) -> bytes:
        old = _item(body, path, line)
        category = next((o.category for o in old.observations if o.line == line and o.category), None) or "note"
        ended = _ended(body, path, line, at)
        lines = ended.split(b"\n")
        indent = re.match(rb"\s*", lines[line - 1])
        ending = "\r" if lines[line - 1].endswith(b"\r") else ""
        new = fact_line(text, category, at, None) + ending
        lines.insert(line, (indent[0] if indent else b"") + new.encode())
        return b"\n".join(lines)

    return change(ws, path, make, Terms(by))


def _place(ws: Workspace, place: str) -> tuple[str, int]:
    address = find(ws, usable(ws), place)
    if address.path and not re.search(r":\d+(:\d+)?$", place.strip()):
        raise QueryError(f"Which line of {show_path(address.path)}?", hint="Name it, as in people/ada.md:12.")
    return address.path, address.line


def _item(body: bytes, path: str, line: int) -> Parsed:
    parsed = parse(body, show_path(path)).parsed
    claims: list[Observation | Relation] = [*parsed.observations, *parsed.relations]
    if not any(x.line == line for x in claims):
        raise NotFound(
            f"Line {line} of {show_path(path)} is no fact.",
            hint=f"`holdfast facts '{show_path(path)}'` lists them with their lines.",
        )
    return parsed


def _ended(body: bytes, path: str, line: int, at: str) -> bytes:
    parsed = _item(body, path, line)
    claims: list[Observation | Relation] = [*parsed.observations, *parsed.relations]
    known = next(x for x in claims if x.line == line)
    if known.valid_to and bounds(known.valid_to) is not None:
        raise Conflict(
            f"Line {line} of {show_path(path)} has ended already, on {known.valid_to}.",
            hint="Edit the line if that is wrong.", current_digest=f"b2-{notes.digest_of(body).hex()}",
        )  # fmt: skip
    if known.valid_from and (begun := bounds(known.valid_from)) and begun[0] >= (bounds(at) or begun)[1]:
        raise QueryError(f"It begins on {known.valid_from}, after {at}.", hint="Give a later date.")
    lines = body.split(b"\n")
    text = lines[line - 1].decode("utf-8", "surrogateescape")
    ending = "\r" if text.endswith("\r") else ""
    text = _TO.sub("", text.removesuffix("\r")).rstrip()
    block = _BLOCK.search(text)
    head, rest = (text[: block.start()], text[block.start() :]) if block else (text, "")
    lines[line - 1] = f"{head} [to:: {at}]{rest}{ending}".encode("utf-8", "surrogateescape")
    return b"\n".join(lines)


def _date(name: str, text: str) -> str:
    if bounds(text) is None:
        raise QueryError(f"“{text}” is no date ({name}).", hint="Write it like 2026-11-20, 2026-11 or 2026.")
    return text.strip()
