"""Tags: where an inline `#tag` ends, and the tags that frontmatter states."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from holdfast.model import fold

_WORD = re.compile(r"[\w/-]*+")
_JOINER = "\u200d"

# Signs that are emoji only with a variation selector behind them, which makes them fit for a tag.
_TEXT_SIGNS = re.compile(
    "[\u00a9\u00ae\u203c\u2049\u2122\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u25ff\u2900-\u2bff\u3030\u303d]\ufe0f"
)
_EMOJI = re.compile(
    "[\u231a\u231b\u23e9-\u23f3\u23f8-\u23fa\u25fd\u25fe\u2600-\u27bf\u2b1b\u2b1c\u2b50\u2b55\u3297\u3299"
    "\U0001f000-\U0001faff\U000e0020-\U000e007f]"
)


def tag_at(line: str, at: int) -> tuple[str, int] | None:
    """The inline tag that begins behind the `#` at `at`, and where it ends; None if there is none."""
    first = line[at + 1 : at + 2]
    if first > "\x7f" and unicodedata.category(first)[0] == "M":
        return None  # the keycap emoji `#` and its like
    end = _end(line, at + 1)
    name = line[at + 1 : end].rstrip("/")
    if not name or name.isdigit():
        return None
    return name if name.isascii() else unicodedata.normalize("NFC", name), at + 1 + len(name)


def _end(line: str, at: int) -> int:
    """Where the characters of a tag end. `\\w` is letters, digits and `_`; marks and emoji are looked at one by one."""
    size = len(line)
    while True:
        match = _WORD.match(line, at)
        at = match.end() if match else at
        if at >= size or line[at] <= "\x7f":
            return at
        char = line[at]
        if unicodedata.category(char)[0] == "M" or _EMOJI.match(char):
            at += 1
        elif _TEXT_SIGNS.match(line, at):
            at += 2
        elif char == _JOINER and at + 1 < size and (_EMOJI.match(line, at + 1) or _TEXT_SIGNS.match(line, at + 1)):
            at += 1
        else:
            return at


def once(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags in NFC, each once whatever its case, as first written."""
    seen: dict[str, str] = {}
    for tag in tags:
        if not tag.isascii():
            tag = unicodedata.normalize("NFC", tag)
        seen.setdefault(fold(tag), tag)
    return tuple(seen.values())


def stated(value: Any) -> list[str]:
    """The tags in frontmatter's `tags`: nested lists flattened, items split at commas, leading `#`s dropped."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _json_list(value)
    return [tag for text in texts(value) for item in text.split(",") if (tag := item.strip().lstrip("#").strip())]


def texts(value: Any) -> list[str]:
    """The texts in a value, nested lists flattened; depth is bounded by the header's."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return []


def _json_list(text: str) -> Any:
    try:
        found = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
        return texts(_as_text(found))
    except (ValueError, RecursionError):
        return text


def _as_text(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else value
