"""Links, names and facts of many notes at once, from rows: see index.graph.Graph."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import apsw

from holdfast.index.base import LinkRow, NameLevel, NameRow
from holdfast.index.graph import Dated, Place, Source, Step, Tie
from holdfast.index.sqlite.db import check_kinds, first, rows

_MANY = "(select value from json_each(?))"
_TIE = "select note, ord, line, target, name, heading, relative, relation from link "
_TIE_KINDS = "iiissSiS"
_FACT = "select note, ord, line, kind, label, valid_from, valid_to from fact "
_FACT_KINDS = "iiisSSS"


class Reading(Protocol):
    """What is needed of the open index."""

    def reading(self) -> AbstractContextManager[apsw.Connection]: ...


class SqliteGraph:
    """See index.graph.Graph."""

    def __init__(self, index: Reading) -> None:
        self._index = index

    def _all(self, sql: str, values: Sequence[object], kinds: str) -> list[Any]:
        with self._index.reading() as db:
            return check_kinds(rows(db, sql, values), kinds)

    def names_of(self, notes: Iterable[int]) -> dict[int, list[str]]:
        out: dict[int, list[str]] = {}
        sql = f"select distinct note, key from name where note in {_MANY} order by note, key"
        for note, key in self._all(sql, (_ids(notes),), "is"):
            out.setdefault(note, []).append(key)
        return out

    def named(self, names: Iterable[str]) -> dict[str, list[NameRow]]:
        sql = (
            "select n.key, n.note, f.key, n.levels, n.whole, o.permalink from name n join file f on f.id = n.note "
            f"join note o on o.id = n.note where n.key in {_MANY} order by f.key"
        )
        out: dict[str, list[NameRow]] = {}
        for name, note, key, levels, whole, stated in self._all(sql, (_texts(names),), "sibisS"):
            out.setdefault(name, []).append(NameRow(note, key, NameLevel(levels), whole or None, stated))
        return out

    def sources(self, names: Iterable[str]) -> list[Source]:
        sql = (
            "select f.key, l.ord, l.target, l.relative, l.note from link l join file f on f.id = l.note "
            f"where l.name in {_MANY}"
        )
        return self._all(sql, (_texts(names),), "bisii")

    def links(self, places: Sequence[Place]) -> list[LinkRow | None]:
        sql = (
            "select line, target, name, heading, block, embed, relative, relation from link where note = ? and ord = ?"
        )
        out: list[LinkRow | None] = []
        with self._index.reading() as db:
            for place in places:
                found = check_kinds(rows(db, sql, place), "issSSiiS")
                out.append(_link_row(found[0]) if found else None)
        return out

    def ties_from(self, notes: Iterable[int], most: int) -> list[Tie]:
        sql = f"{_TIE} where note in {_MANY} and ord < ? order by note, ord"
        return [_tie(row) for row in self._all(sql, (_ids(notes), most), _TIE_KINDS)]

    def ties_to(self, names: Sequence[str], most: int) -> list[list[Tie]]:
        sql = f"{_TIE} where name = ? order by note desc, ord desc limit ?"
        with self._index.reading() as db:
            return [[_tie(row) for row in check_kinds(rows(db, sql, (name, most)), _TIE_KINDS)] for name in names]

    def steps(self, after: Place, limit: int) -> list[tuple[Place, Step]]:
        sql = (
            "select note, ord, line, target, name, relative from link where (note, ord) > (?, ?) "
            "order by note, ord limit ?"
        )
        found = self._all(sql, (*after, limit), "iiissi")
        return [((note, at), (note, line, target, name, relative)) for note, at, line, target, name, relative in found]

    def note_keys(self) -> list[tuple[int, bytes]]:
        return self._all("select f.id, f.key from file f join note n on n.id = f.id order by f.key", (), "ib")

    def other_keys(self) -> list[bytes]:
        sql = "select key from file where id not in (select note from name) order by key"
        return [key for (key,) in self._all(sql, (), "b")]

    def stamps(self, notes: Iterable[int]) -> dict[int, tuple[bytes, int]]:
        sql = (
            "select n.id, f.key, coalesce(n.modified_ns, f.mtime_ns) from note n join file f on f.id = n.id "
            f"where n.id in {_MANY}"
        )
        return {note: (key, when) for note, key, when in self._all(sql, (_ids(notes),), "ibi")}

    def passages_at(self, places: Sequence[tuple[int, int]]) -> list[int]:
        sql = "select ord from chunk where note = ? and line <= ? order by ord desc limit 1"
        with self._index.reading() as db:
            return [int(found[0]) if (found := first(db, sql, place)) else 0 for place in places]

    def labels(self) -> list[str]:
        sql = "select distinct label from fact where label is not null order by label"
        return [label for (label,) in self._all(sql, (), "s")]

    def labelled(self, labels: Iterable[str]) -> list[Dated]:
        return self._facts(f"where label in {_MANY} order by note, ord", (_texts(labels),))

    def facts_of(self, notes: Iterable[int]) -> list[Dated]:
        return self._facts(f"where note in {_MANY} order by note, ord", (_ids(notes),))

    def dated(self, after: Place, limit: int) -> list[Dated]:
        return self._facts(
            "where (note, ord) > (?, ?) and (valid_from is not null or valid_to is not null) "
            "order by note, ord limit ?",
            (*after, limit),
        )

    def _facts(self, where: str, values: Sequence[object]) -> list[Dated]:
        return [Dated(*row) for row in self._all(_FACT + where, values, _FACT_KINDS)]

    def stated(self, keys: Iterable[str], notes: Iterable[int] | None = None) -> list[tuple[int, str, str]]:
        sql = f"select note, key, value from field where key in {_MANY} "
        if notes is None:
            return self._all(sql + "order by note, key, value", (_texts(keys),), "iss")
        sql += f"and note in {_MANY} order by note, key, value"
        return self._all(sql, (_texts(keys), _ids(notes)), "iss")


def _ids(notes: Iterable[int]) -> str:
    return json.dumps(sorted(set(notes)))


def _texts(texts: Iterable[str]) -> str:
    return json.dumps(sorted(set(texts)))


def _tie(row: Any) -> Tie:
    note, at, line, target, name, heading, relative, relation = row
    return Tie(note, at, line, target, name, heading, bool(relative), relation)


def _link_row(row: Any) -> LinkRow:
    line, target, name, heading, block, embed, relative, relation = row
    return LinkRow(line, target, name, heading, block, bool(embed), bool(relative), relation)
