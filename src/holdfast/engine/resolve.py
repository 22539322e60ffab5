"""What a name or a link's target means, at the moment of asking.

Nothing resolved is stored, so nothing can be stale: a link to a note that comes later resolves by itself, and a folder
that moves changes no link (docs/decisions/0004). A target is tried as exact path, path whatever its case, permalink,
title, alias, file name; the first level at which it names any note decides, and several there are ambiguous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Protocol, TypeVar

from holdfast.index.base import NameLevel, NameRow
from holdfast.model import fold, key_path, show_path
from holdfast.text.names import bare, join, tail
from holdfast.text.permalink import permalink

DIGITS = 9

T = TypeVar("T")


class Names(Protocol):
    """An index that knows names."""

    def named(self, name: str) -> list[NameRow]: ...


def resolve(index: Names, target: str, folder: str = "", *, relative: bool = False) -> list[int]:
    """The ids of the notes that `target` names; one if it is resolved, none if it dangles, several if ambiguous.

    `relative` targets (Markdown links) are paths, from `folder` first and from the root next.
    """
    return Resolver(index).resolve(target, folder, relative=relative)


class Resolver:
    """Resolves many targets against one state of the index: each name is looked up once, each meaning found once.

    So whoever asks for a thousand links pays for what is different among them, also where a thousand notes share a
    name. Use it within one snapshot, and not longer.
    """

    def __init__(self, index: Names) -> None:
        self._index = index
        self._known: dict[str, _Namesakes] = {}
        self._found: dict[tuple[str, str | None], list[int]] = {}

    def learn(self, names: Iterable[str], look_up: Callable[[list[str]], Mapping[str, list[NameRow]]]) -> None:
        """Look up those of `names` (folded last parts) that are not known yet, all at once."""
        unknown = sorted({n for n in names if n not in self._known})
        found = look_up(unknown) if unknown else {}
        for name in unknown:
            self._known[name] = _Namesakes(found.get(name, ()))

    def resolve(self, target: str, folder: str = "", *, relative: bool = False) -> list[int]:
        """As the function of this name."""
        at = (target, folder if relative else None)
        found = self._found.get(at)
        if found is None:
            found = self._found[at] = self._resolve(target, folder, relative)
        return found

    def _resolve(self, target: str, folder: str, relative: bool) -> list[int]:
        same = self.namesakes(tail(target))
        for path in [join(folder, target), join("", target)] if relative else [target.strip("/")]:
            if path is not None and (found := same.at_path(path)):
                return found
        if relative:
            return []
        whole = fold(target.strip("/"))
        for level in NameLevel:
            if found := same.called(level, whole):
                return found
        return self._numbered(whole)

    def number(self, note: int, path: str) -> str:
        """The last part of the permalink that the note has because others have its own too; "" if it needs none."""
        whole = permalink(path)
        same = self.namesakes(tail(whole)).permalinks.get(whole, [])
        return f"{tail(whole)}-{same.index(note)}" if note in same[1:] else ""

    def _numbered(self, whole: str) -> list[int]:
        """The note whose permalink collides with others' and got a number: `-1` is the second in path order."""
        base, dash, number = whole.rpartition("-")
        # `isdigit` holds for "²" too, which no int is, and int refuses what is longer than a few thousand digits.
        if not dash or not (number.isascii() and number.isdigit()) or number[0] == "0" or len(number) > DIGITS:
            return []
        same = self.namesakes(tail(base)).permalinks.get(base, [])
        return [same[int(number)]] if int(number) < len(same) else []

    def namesakes(self, name: str) -> _Namesakes:
        if name not in self._known:
            self._known[name] = _Namesakes(self._index.named(name))
        return self._known[name]


class _Namesakes:
    """All notes with one folded last part of a name, by everything that they can be called."""

    def __init__(self, rows: Sequence[NameRow]) -> None:
        self._rows = rows
        self._by_path: dict[int, dict[str, list[int]]] = {}
        self._by_name: dict[NameLevel, dict[str | None, list[int]]] = {}

    @cached_property
    def _paths(self) -> dict[int, str]:
        return {row.note: show_path(key_path(row.key)) for row in self._rows}

    @cached_property
    def permalinks(self) -> dict[str, list[int]]:
        """The notes by the permalink that their path gives them, stated ones as well, in path order."""
        return _grouped((permalink(self._paths[r.note]), r.note) for r in self._rows if r.levels & NameLevel.PERMALINK)

    def at_path(self, wanted: str) -> list[int]:
        """The notes at that path: as it is, without suffix, whatever its case, both."""
        for level, same in enumerate(_SAME_PATH if self._rows else ()):
            if level not in self._by_path:
                self._by_path[level] = _grouped((same(path), note) for note, path in self._paths.items())
            if found := self._by_path[level].get(same(wanted)):
                return found
        return []

    def called(self, level: NameLevel, whole: str) -> list[int]:
        """The notes that have the folded name `whole` at this level, in path order."""
        if not self._rows or (level is NameLevel.STEM and "/" in whole):
            return []
        if level not in self._by_name:
            self._by_name[level] = _grouped(self._names(level))
        names = self._by_name[level]
        if level is NameLevel.STEM:
            return names.get(None, [])
        found = {*names.get(whole, ()), *names.get(bare(whole), ())}
        if tail(whole) == whole:
            found.update(names.get(None, ()))
        if level is NameLevel.PERMALINK:
            found.update(self._unstated.get(whole, ()))
        return [note for note in self._paths if note in found] if len(found) > 1 else list(found)

    def _names(self, level: NameLevel) -> Iterable[tuple[str | None, int]]:
        """(whole name, None where it is the last part alone; note)."""
        for row in self._rows:
            if row.levels & level and not (level is NameLevel.PERMALINK and _follows_from_path(row)):
                yield None if level is NameLevel.STEM else row.whole, row.note

    @cached_property
    def _unstated(self) -> dict[str, list[int]]:
        return _grouped(
            (permalink(self._paths[row.note]), row.note)
            for row in self._rows
            if row.levels & NameLevel.PERMALINK and _follows_from_path(row)
        )


def _follows_from_path(row: NameRow) -> bool:
    """Whether the note states no permalink; only its last part is stored then."""
    return row.whole is None and row.stated_permalink is None


def _folded_bare(path: str) -> str:
    return fold(bare(path))


_SAME_PATH: tuple[Callable[[str], str], ...] = (str, bare, fold, _folded_bare)


def _grouped(pairs: Iterable[tuple[T, int]]) -> dict[T, list[int]]:
    out: dict[T, list[int]] = {}
    for name, note in pairs:
        known = out.setdefault(name, [])
        if note not in known[-1:]:
            known.append(note)
    return out
