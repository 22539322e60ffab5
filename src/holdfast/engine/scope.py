"""Filters as typed -> conditions of the index, and a word about those that nothing in the vault meets."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Protocol

from holdfast.engine.times import bounds
from holdfast.errors import QueryError
from holdfast.index.asking import SPEAKER, Condition, Search
from holdfast.model import Filter, Query, fold

VALUES_COMPARED = 2_000
SHOWN = 80


class Fields(Protocol):
    """An index that knows frontmatter fields."""

    def has_field(self, key: str, value: str | None = None) -> bool: ...

    def field_values(self, key: str, limit: int) -> list[str]: ...


def make_search(query: Query) -> Search:
    """The question as the index takes it; raises QueryError for a date that is none."""
    return Search(
        words=query.words,
        repeats=query.repeats,
        typed=query.typed,
        prefixes=query.prefixes,
        phrases=query.phrases,
        excluded=query.excluded,
        conditions=tuple(condition(f) for f in query.filters),
    )


def condition(f: Filter) -> Condition:
    """The condition that a filter states; raises QueryError for a date that is none."""
    if f.field in ("since", "until", "as_of"):
        span = bounds(f.value)
        if span is None:
            raise QueryError(f"{f.field}:{f.value} is not a date.")
        if f.field == "since":
            return Condition("time", lo_ns=span[0], negated=f.negated)
        if f.field == "until":
            return Condition("time", hi_ns=span[1], negated=f.negated)
        return Condition("valid", lo_ns=span[1] - 1, negated=f.negated)
    if f.field == "path":
        return Condition("path", values=(f.value,), negated=f.negated)
    if f.field in ("from", "by"):
        return Condition("who", values=(fold(f.value),), negated=f.negated)
    return Condition("field", f.field, values=_values(f), negated=f.negated)


def _values(f: Filter) -> tuple[str, ...]:
    if f.field == "title":
        return (fold(f.value),)
    return tuple(fold(v.strip().lstrip("#")) for v in f.value.split(",") if v.strip())


def unmet(query: Query, index: Fields) -> Iterator[str]:
    """A sentence for each filter whose value no note has, with the nearest one that some note has."""
    for f in query.filters:
        c = condition(f)
        fields = (SPEAKER, "author") if c.kind == "who" else (c.field,)
        if c.kind not in ("who", "field") or any(index.has_field(key, v) for key in fields for v in c.values):
            continue
        if c.field == "tag" and any(
            v.startswith(c.values[0] + "/") for v in index.field_values("tag", VALUES_COMPARED)
        ):
            continue
        known = [v for key in fields for v in index.field_values(key, VALUES_COMPARED)]
        near = get_close_matches(c.values[0], known, n=1) if c.values else []
        meant = f"; the nearest is {f.field}:{near[0]}" if near else ""
        yield f"no note has {f.field}:{f.value[:SHOWN]}{meant}"
