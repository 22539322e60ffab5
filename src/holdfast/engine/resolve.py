"""What a name or a link's target means, at the moment of asking.

Nothing resolved is stored, so nothing can be stale: a link to a note that comes later resolves by itself, and a folder
that moves changes no link (docs/decisions/0004). A target is tried as exact path, path whatever its case, permalink,
title, alias, file name; the first level at which it names any note decides, and several there are ambiguous.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from holdfast.index.base import NameLevel, NameRow
from holdfast.model import fold, key_path, show_path
from holdfast.text.names import bare, join, tail
from holdfast.text.permalink import permalink


class Names(Protocol):
    """An index that knows names."""

    def named(self, name: str) -> list[NameRow]: ...


def resolve(index: Names, target: str, folder: str = "", *, relative: bool = False) -> list[int]:
    """The ids of the notes that `target` names; one if it is resolved, none if it dangles, several if ambiguous.

    `relative` targets (Markdown links) are paths, from `folder` first and from the root next.
    """
    rows = index.named(tail(target))
    paths = {row.note: show_path(key_path(row.key)) for row in rows}
    wanted = [join(folder, target), join("", target)] if relative else [target.strip("/")]
    for path in wanted:
        if path is not None and (found := _at_path(paths, path)):
            return found
    if relative:
        return []
    whole = fold(target.strip("/"))
    for level in NameLevel:
        found = [r.note for r in rows if r.levels & level and _is_called(r, paths[r.note], level, whole)]
        if found:
            return list(dict.fromkeys(found))
    return _numbered(index, whole)


def _at_path(paths: dict[int, str], wanted: str) -> list[int]:
    same: Callable[[str], str]
    for same in (str, bare, fold, lambda p: fold(bare(p))):
        if found := [note for note, path in paths.items() if same(path) == same(wanted)]:
            return found
    return []


def _is_called(row: NameRow, path: str, level: NameLevel, whole: str) -> bool:
    if level is NameLevel.PERMALINK and row.whole is None and row.stated_permalink is None:
        return permalink(path) == whole
    if level is NameLevel.STEM:
        return "/" not in whole
    return (row.whole or tail(whole)) == whole or row.whole == bare(whole)


def _numbered(index: Names, whole: str) -> list[int]:
    """The note whose permalink collides with others' and got a number: `-1` is the second in path order."""
    base, dash, number = whole.rpartition("-")
    if not dash or not number.isdigit() or number.startswith("0"):
        return []
    same = [r.note for r in index.named(tail(base)) if r.levels & NameLevel.PERMALINK]
    paths = {r.note: show_path(key_path(r.key)) for r in index.named(tail(base))}
    same = [n for n in dict.fromkeys(same) if permalink(paths[n]) == base]
    return [same[int(number)]] if int(number) < len(same) else []
