"""One line of an ignore file as a regular expression, by the rules of gitignore(5).

The expressions take linear time whatever the line says: a vault may come from a stranger, and `*a*a*a*a*b` as plain
`[^/]*a[^/]*a...` would take hours on one long name. So every part between two stars matches at its first place and is
then never tried again (an atomic group), which loses nothing because these parts have a fixed length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_STAR = "*"
_ANY = "[^/]"
_BELOW = "(?:[^/]+/)*"
_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\s",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}


@dataclass(frozen=True, slots=True)
class Pattern:
    """A line of an ignore file.

    `source` is a regular expression for the whole of a path, which ends with `/` if it is a directory: the path
    relative to the file's folder, or only the last name where `is_name`.
    """

    source: str
    is_name: bool
    is_negated: bool


class _NeverMatchesError(Exception):
    """git takes the line, but it can match nothing."""


def parse_line(line: str) -> Pattern | None:
    """The pattern in `line`, or None for blank lines, comments and lines that can match nothing."""
    text = _trim(line)
    if not text or text.startswith("#"):
        return None
    is_negated = text.startswith("!")
    text = text[is_negated:]
    is_folder = text.endswith("/")
    text = text[: -1 if is_folder else None]
    is_name = "/" not in text
    try:
        segments = _segments(text.removeprefix("/"))
    except _NeverMatchesError:
        return None
    body = (_segment(segments[0]) if segments[0] != ["**"] else _ANY + "+") if is_name else _path(segments)
    return Pattern(body + ("/" if is_folder else "/?") + r"\Z", is_name, is_negated) if body else None


def _trim(line: str) -> str:
    """`line` without trailing spaces, save escaped ones."""
    end = len(line)
    while end and line[end - 1] == " ":
        backslashes = end - 1 - len(line[: end - 1].rstrip("\\"))
        if backslashes % 2:
            break
        end -= 1
    return line[:end]


def _segments(text: str) -> list[list[str]]:
    """The parts between slashes, each a list of `*` and one-character expressions; `**` stands alone."""
    segments: list[list[str]] = [[]]
    at = 0
    while at < len(text):
        c = text[at]
        at += 1
        if c == "\\":
            if at == len(text):
                raise _NeverMatchesError
            c = text[at]
            at += 1
            segments[-1].append(re.escape(c)) if c != "/" else segments.append([])
        elif c == "/":
            segments.append([])
        elif c == "*":
            stars = at - 1
            while at < len(text) and text[at] == "*":
                at += 1
            is_alone = not segments[-1] and (at == len(text) or text[at] == "/")
            segments[-1].append("**" if at - stars > 1 and is_alone else _STAR)
        elif c == "?":
            segments[-1].append(_ANY)
        elif c == "[":
            expression, at = _bracket(text, at)
            segments[-1].append(expression)
        else:
            segments[-1].append(re.escape(c))
    return segments


def _bracket(text: str, at: int) -> tuple[str, int]:
    """The set that begins after the `[` at `at`, and where it ends."""
    is_negated = text[at : at + 1] in ("!", "^")
    at += is_negated
    out: list[str] = []
    before = ""  # the character that may begin a range
    first = True
    while first or text[at : at + 1] != "]":
        first = False
        if at >= len(text):
            raise _NeverMatchesError
        c = text[at]
        if c == "-" and before and text[at + 1 : at + 2] not in ("", "]"):
            c, at = _member(text, at + 1)
            if before <= c:
                out.append(f"{re.escape(before)}-{re.escape(c)}")
            before = ""
        elif c == "[" and text[at + 1 : at + 2] == ":" and (named := re.match(r"\[:([^\]]*):\]", text[at:])):
            if named[1] not in _CLASSES:
                raise _NeverMatchesError
            out.append(_CLASSES[named[1]])
            before = ""
            at += named.end()
        else:
            before, at = _member(text, at)
            out.append(re.escape(before))
    # Sets of Python know `--`, `&&`, `||`, `~~` and `[` as operators to come; re.escape leaves none of them bare.
    inside = "".join(out)
    if is_negated:
        return f"[^/{inside}]", at + 1
    return (f"(?!/)[{inside}]" if inside else "(?!)"), at + 1


def _member(text: str, at: int) -> tuple[str, int]:
    at += text[at : at + 1] == "\\"
    if at >= len(text):
        raise _NeverMatchesError
    return text[at], at + 1


def _segment(parts: list[str]) -> str:
    """The expression for one name."""
    chunks = [[]] if not parts else _split(parts)
    if len(chunks) == 1:
        return "".join(chunks[0])
    middle = "".join(f"(?>{_ANY}*?{''.join(chunk)})" for chunk in chunks[1:-1] if chunk)
    return "".join(chunks[0]) + middle + f"{_ANY}*" + "".join(chunks[-1])


def _split(parts: list[str]) -> list[list[str]]:
    chunks: list[list[str]] = [[]]
    for part in parts:
        if part == _STAR:
            chunks.append([])
        else:
            chunks[-1].append(part)
    return chunks


def _path(segments: list[list[str]]) -> str:
    """The expression for a path, relative to the ignore file's folder."""
    groups: list[list[str]] = [[]]
    for segment in segments:
        if segment == ["**"]:
            groups.append([])
        else:
            groups[-1].append(_segment(segment))
    if any(not name for group in groups for name in group):
        return ""  # an empty name, as in a//b: no path has one
    out = "/".join(groups[0])
    for n, group in enumerate(groups[1:], 2):
        slash = "/" if n == 2 and groups[0] else ""
        is_last = n == len(groups)
        if group and is_last:
            out += f"{slash}{_BELOW}{'/'.join(group)}"
        elif group:
            out += f"{slash}(?>{_BELOW}?{'/'.join(group)}/)"
        elif is_last:
            out += f"{slash}(?s:.+?)"
        else:
            out += slash
    return out
