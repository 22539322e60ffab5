"""The turns of a conversation: their markers, and the escape of text that looks like one.

A marker is a whole line `<!-- turn 3 some speaker 2026-11-02T09:14:03Z -->`. In a turn's text a line that looks like a
marker has one `\\` more in front than at its source.
"""

from __future__ import annotations

import re

from holdfast.model import Turn
from holdfast.text.dates import is_instant

_INNER = re.compile(r"[ \t]++turn[ \t]++([0-9]{1,18})[ \t](.*[ \t])", re.DOTALL)
_BLANKS = " \t"
_ESCAPED = re.compile(r"^\\+(<!--.*)$", re.MULTILINE)
_LOOKS = re.compile(r"^\\*+(<!--.*)$", re.MULTILINE)


def marker(line: str, number: int) -> Turn | None:
    """The turn that `line`, the `number`-th of its file, begins; None if it is no marker."""
    if not line.startswith("<!--"):
        return None
    inner = line.rstrip(_BLANKS)[4:]
    match = _INNER.fullmatch(inner[:-3]) if inner.endswith("-->") and inner.find("-->") == len(inner) - 3 else None
    if match is None:
        return None
    speaker = match[2].strip(_BLANKS)
    words, _, last = speaker.replace("\t", " ").rpartition(" ")
    at = None
    if is_instant(last):
        speaker, at = speaker[: len(words)].rstrip(_BLANKS), last
    # A time alone names nobody: `<!-- turn 2 2026-11-02T09:14Z -->` is a comment like `<!-- turn 2 -->`.
    return Turn(number, int(match[1]), speaker, at) if speaker else None


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
