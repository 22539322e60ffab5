"""Structured lines: a list item is an observation, a relation, or neither. See "Structured lines" in docs/format.md.

An item is judged by what is left of its first line when comments, a `^block-id` and inline fields are taken out. Beside
that text goes its mask, of the same length, in which code, math and escapes cannot look like structure.
"""

from __future__ import annotations

import re
import unicodedata

from holdfast.model import Observation, Problem, Relation
from holdfast.text.dates import is_before, is_date
from holdfast.text.inline import Inline
from holdfast.text.links import WIKILINK, wikilink
from holdfast.text.tags import once

_BOX = re.compile(r"\[(.)[\ufe0e\ufe0f]?\](?=\s|\Z)")
_CATEGORY = re.compile(r"\[([^\[\]()]+)\]\s+(?=\S)")
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d+)?\s*+(?:[ap]\.?m\.?)?+"
_TIMES = re.compile(rf"{_CLOCK}(?:\s*+[-\u2013\u2014]\s*+{_CLOCK})?", re.IGNORECASE)

_RELATION = re.compile(rf'(?:(?:"([^"\[\]]+)"|([^\s"\[\]():]+))(?:::?\s*|\s+))?(?={WIKILINK}\Z)')
_TARGET = re.compile(WIKILINK)

_BLOCK_ID = re.compile(r"\^[A-Za-z0-9-]++\s*+\Z")
_KEY = re.compile(r"[\[(]\s*([^\[\]():]*[^\[\]():\s])\s*::")
_SQUARE, _ROUND = re.compile(r"[\[\]]"), re.compile(r"[()]")

Field = tuple[int, int, str, str]
"""An inline field: where it starts and ends in its line, its key in lower case, its value."""


def item(
    line: str, number: int, start: int, inline: Inline | None, problems: list[Problem]
) -> Observation | Relation | None:
    """What the list item whose text begins at `start` of `line` says, if anything; adds problems with its dates."""
    has_fields = "::" in line
    if inline is None and not has_fields and line[start] != "[":
        return None
    if is_task(line, start):
        return None
    text, mask, fields = _strip(line, start, inline, has_fields)
    if not text:
        return None
    valid_from, valid_to = _date(fields, "from"), _date(fields, "to")
    match = _CATEGORY.match(mask)
    category = text[1 : match.end(1)].strip() if match else ""
    found: Observation | Relation | None
    if match and category and is_category(category):
        tags = _tags(inline, line.find("]", start), fields)
        content, _, context = _split_context(text[match.end() :], mask[match.end() :])
        found = Observation(number, category, content, once(tags), context, valid_from, valid_to)
    else:
        content, mask, context = _split_context(text, mask)
        relation = _relation(content, mask) if inline and inline.links else None
        tags = _tags(inline, -1, fields)
        if relation:
            found = Relation(number, *relation, context, valid_from, valid_to)
        elif tags or valid_from is not None or valid_to is not None:
            found = Observation(number, None, content, once(tags), context, valid_from, valid_to)
        else:
            return None
    if fields:
        _check_dates(valid_from, valid_to, number, problems)
    return found


def is_task(line: str, start: int) -> bool:
    """Whether a task's box stands at `start`: one non-letter, or an x, between brackets."""
    if not line.startswith("[", start):
        return False
    match = _BOX.match(line, start)
    return match is not None and (match[1] in "xX" or not match[1].isalpha())


def is_category(text: str) -> bool:
    """Whether a bracketed text may be a category: no footnote, no clock time, no inline field."""
    if text[0] == "^" or "::" in text:
        return False
    return not (text[0].isdigit() and _TIMES.fullmatch(text))


def _strip(line: str, start: int, inline: Inline | None, has_fields: bool) -> tuple[str, str, list[Field]]:
    """The item's text without comments, block id and fields; its mask; the fields."""
    opaque = inline.opaque if inline else []
    cuts = list(inline.comments) if inline else []
    mask = line
    if opaque or cuts:
        pieces: list[str] = []
        at = 0
        for fill, (a, b) in sorted([("x", span) for span in opaque] + [(" ", span) for span in cuts], key=_start):
            if a >= at:
                pieces += (mask[at:a], fill * (b - a))
                at = b
        mask = "".join(pieces) + mask[at:]
    caret = mask.rfind("^")
    if caret >= start and (caret == start or mask[caret - 1].isspace()) and _BLOCK_ID.match(mask, caret):
        cuts.append((caret, len(line)))
        mask = mask[:caret]
    fields = _fields(line, mask, start) if has_fields else []
    cuts += [field[:2] for field in fields]
    if not cuts:
        end = len(line.rstrip())
        return line[start:end], mask[start:end], fields
    kept: list[tuple[int, int]] = []
    at = start
    for a, b in sorted(cuts):
        if a >= at:
            kept.append((at, at + len(line[at:a].rstrip())))
        at = max(at, b)
    kept.append((at, max(at, len(mask))))
    text = "".join(line[a:b] for a, b in kept)
    mask = "".join(mask[a:b] for a, b in kept)
    left, right = len(text) - len(text.lstrip()), len(text.rstrip())
    return text[left:right], mask[left:right], fields


def _start(filled: tuple[str, tuple[int, int]]) -> tuple[int, int]:
    return filled[1]


def _fields(line: str, mask: str, start: int) -> list[Field]:
    """The outermost `[key:: value]` and `(key:: value)`, their brackets balanced, in order."""
    found: list[Field] = []
    for brackets in (_SQUARE, _ROUND):
        open_at: list[int] = []
        for bracket in brackets.finditer(mask, start):
            at = bracket.start()
            if mask[at] in "[(":
                open_at.append(at)
            elif open_at:
                begin = open_at.pop()
                key = _KEY.match(mask, begin)
                if key and key.end() <= at and not (mask[begin] == "[" and mask[begin - 1 : begin] == "["):
                    found.append((begin, at + 1, key[1].lower(), line[key.end() : at].strip()))
    outer: list[Field] = []
    for field in sorted(found):
        if not outer or field[0] >= outer[-1][1]:
            outer.append(field)
    return outer


def _tags(inline: Inline | None, after: int, fields: list[Field]) -> list[str]:
    """The tags of a line behind `after` and outside its fields; both are in order."""
    found: list[str] = []
    n = 0
    for at, tag in inline.tags if inline else ():
        while n < len(fields) and fields[n][1] <= at:
            n += 1
        if at > after and (n == len(fields) or at < fields[n][0]):
            found.append(tag)
    return found


def _date(fields: list[Field], key: str) -> str | None:
    """The first value of field `key` that is not empty; of a wikilink to a date, the date."""
    for _, _, name, value in fields:
        if name == key and value:
            match = _TARGET.fullmatch(value)
            link = wikilink(match[1], 0) if match else None
            return link.target if link and is_date(link.target) else value
    return None


def _check_dates(valid_from: str | None, valid_to: str | None, number: int, problems: list[Problem]) -> None:
    for key, value in (("from", valid_from), ("to", valid_to)):
        if value is not None and not is_date(value):
            problems.append(Problem(number, f"{key}:: {value!r} is no ISO date, so it bounds nothing"))
    if valid_from is not None and valid_to is not None and is_before(valid_to, valid_from):
        problems.append(Problem(number, f"to:: {valid_to} lies before from:: {valid_from}, so they bound nothing"))


def _split_context(text: str, mask: str) -> tuple[str, str, str | None]:
    """Content, the content's mask and the context of an item's text."""
    if not mask.endswith(")"):
        return text, mask, None
    brackets = [match.start() for match in _ROUND.finditer(mask)]
    end, context = len(mask), ""
    while brackets and mask[end - 1] == ")" and not context:
        depth, at = 0, end
        while brackets:
            at = brackets.pop()
            depth += 1 if mask[at] == ")" else -1
            if not depth:
                break
        if depth or at == 0 or not mask[at - 1].isspace():
            break
        stop = at
        while stop and mask[stop - 1].isspace():
            stop -= 1
        if not stop:
            break
        # An empty `()` is dropped, and what stands before it may be the context.
        context = text[at + 1 : end - 1].strip()
        end = stop
    return text[:end], mask[:end], context or None


def _relation(text: str, mask: str) -> tuple[str, str] | None:
    """Type and target, if `text` is a type, or none, and one wikilink."""
    match = _RELATION.match(mask)
    if match is None:
        return None
    inner = _TARGET.match(text, match.end())
    link = wikilink(inner[1], 0) if inner else None
    if link is None or not link.target:
        return None
    if match[1] is not None:
        kind = match[1].strip()
        return (kind, link.target) if kind else None
    if match[2] is not None:
        return (match[2], link.target) if _is_word(match[2]) else None
    return "links_to", link.target


def _is_word(text: str) -> bool:
    """Whether `text` is letters, marks, digits, `_` and `-`, and not digits and dashes only."""
    if text.isdigit() or not any(c.isalnum() for c in text):
        return False
    return all(c in "_-" or c.isalnum() or unicodedata.category(c)[0] == "M" for c in text)
