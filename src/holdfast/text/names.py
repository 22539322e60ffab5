"""How names of notes are cut, for links and identifiers: pure.

A target is looked up by the folded last part of its path, without a note's suffix; the whole is compared afterwards.
So nothing stored about names or links depends on the folder that a note is in, and moving a folder changes no link row.
"""

from __future__ import annotations

from holdfast.model import fold

NOTE_SUFFIXES = (".md", ".markdown", ".txt")


def bare(text: str) -> str:
    """`text` without a note's suffix."""
    low = text.lower()
    for suffix in NOTE_SUFFIXES:
        if low.endswith(suffix) and len(text) > len(suffix):
            return text[: -len(suffix)]
    return text


def tail(text: str) -> str:
    """The folded last part of a target, path or title, without a note's suffix: `name.key` and `link.name`."""
    folded = bare(fold(text).rstrip("/"))
    return folded.rpartition("/")[2] or folded


def join(folder: str, target: str) -> str | None:
    """The path that a relative target means from `folder` ("" is the root); None if it leaves the vault."""
    parts = [] if target.startswith("/") else [p for p in folder.split("/") if p]
    for part in target.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
