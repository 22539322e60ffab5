"""The turns of a conversation: their markers, and the escape of text that looks like one.

A marker is a whole line `<!-- turn 3 some speaker 2026-11-02T09:14:03Z -->`. In a turn's text a line that looks like a
marker has one `\\` more in front than at its source.
"""

from __future__ import annotations

import re

from holdfast.model import Turn
from holdfast.text.dates import is_instant

_NUMBER = re.compile(r"[0-9]{1,18}")
_BLANKS = " \t"
_ESCAPED = re.compile(r"^\\+(<!--.*)$", re.MULTILINE)
_LOOKS = re.compile(r"^\\*+(<!--.*)$", re.MULTILINE)


def marker(line: str, number: int) -> Turn | None:
    """The turn that `line`, the `number`-th of its file, begins; None if it is no marker."""
    if not line.startswith("<!--"):
        return None
    line = line.rstrip(_BLANKS)
    inner = line[4:-3]
    if (
        not line.endswith("-->")
        or inner[:1] not in ("", *_BLANKS)
        or inner[-1:] not in ("", *_BLANKS)
        or "-->" in inner
    ):
        return None
    words = inner.split()
    if len(words) < 3 or words[0] != "turn" or not _NUMBER.fullmatch(words[1]):
        return None
    at = words.pop() if is_instant(words[-1]) else None
    # A time alone names nobody: `<!-- turn 2 2026-11-02T09:14Z -->` is a comment like `<!-- turn 2 -->`.
    return Turn(number, int(words[1]), " ".join(words[2:]), at) if len(words) > 2 else None


def escape(text: str) -> str:
    """`text` as it stands in a turn: each line that would read as a marker gets one backslash more."""
    if "<!--" not in text:
        return text
    return _LOOKS.sub(lambda m: "\\" + m[0] if _is_marker(m[1]) else m[0], text)


def unescape(text: str) -> str:
    """The source's text of a turn: `escape` undone."""
    if "\\<!--" not in text:
        return text
    return _ESCAPED.sub(lambda m: m[0][1:] if _is_marker(m[1]) else m[0], text)


def _is_marker(line: str) -> bool:
    return marker(line.removesuffix("\r"), 0) is not None
