"""Write links of a note anew: only the target changes, every other byte stays."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from urllib.parse import quote, unquote

Key = tuple[int, str, bool]
"""(line, target as written, whether it is relative): what says which link is meant."""

_WIKI = re.compile(r"(\[\[)(\s*)([^\[\]|#]*?)(\s*)(?=[|#\]]|\\\|)")
_MARKDOWN = re.compile(r"(\]\()(\s*)(<[^<>\n]*>|[^\s()<>]*(?:\([^\s()]*\)[^\s()<>]*)*)")


def relinked(body: bytes, wanted: Mapping[Key, str]) -> bytes:
    """`body` with new targets in the links that `wanted` names by line, old target and kind."""
    lines = body.split(b"\n")
    for number in {line for line, _, _ in wanted}:
        text = lines[number - 1].decode("utf-8", "surrogateescape")
        text = _WIKI.sub(_wiki(number, wanted), text)
        text = _MARKDOWN.sub(_markdown(number, wanted), text)
        lines[number - 1] = text.encode("utf-8", "surrogateescape")
    return b"\n".join(lines)


def _wiki(number: int, wanted: Mapping[Key, str]) -> Callable[[re.Match[str]], str]:
    def new(match: re.Match[str]) -> str:
        target = wanted.get((number, match[3], False))
        return match[0] if target is None else f"{match[1]}{match[2]}{target}{match[4]}"

    return new


def _markdown(number: int, wanted: Mapping[Key, str]) -> Callable[[re.Match[str]], str]:
    def new(match: re.Match[str]) -> str:
        place = match[3]
        in_angles = place.startswith("<")
        path, hash_, rest = place.strip("<>").partition("#")
        target = wanted.get((number, unquote(path), True))
        if target is None:
            return match[0]
        written = target if in_angles else quote(target, safe="/-_.~!$&'*+,;=:@", errors="surrogateescape")
        inner = f"{written}{hash_}{rest}"
        return f"{match[1]}{match[2]}{f'<{inner}>' if in_angles else inner}"

    return new


def relative(target: str, folder: str) -> str:
    """The path `target` of the vault as it is written in a note of `folder`."""
    return os.path.relpath(f"/{target}", f"/{folder}")
