"""Links as written: `[[Note#Heading|shown]]` and `[text](relative.md#heading)`. Resolving them is the index's."""

from __future__ import annotations

import re
from urllib.parse import unquote

from holdfast.model import Link

# Possessive throughout, and what is shown stops at the next `[[`: linear on any input.
WIKILINK = r"\[\[([^\[\]|]*+)(?:\|[^\[\]]*+(?:(?:\](?!\])|\[(?!\[))[^\[\]]*+)*+)?\]\]"
_WIKILINK = re.compile(WIKILINK)

_DESTINATION = re.compile(
    r"""\([ \t]*+
    (?: <((?:[^<>\\]++|\\.)*+)> | ((?:[^\s()<\\]++|\\.|(?<!\()<|\((?:[^\s()\\]++|\\.)*+\))*+) )
    (?:[ \t]++(?:"(?:[^"\\]++|\\.)*+"|'(?:[^'\\]++|\\.)*+'|\((?:[^()\\]++|\\.)*+\)))?+
    [ \t]*+\)""",
    re.VERBOSE | re.DOTALL,
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:|//")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")


def wikilink(inner: str, line: int, embed: bool = False) -> Link | None:
    """The link `[[inner]]`, where `inner` ends before the `|`; None if it names nothing."""
    target, mark, part = inner.removesuffix("\\").partition("#")
    target, part = target.strip(), part.strip()
    if not mark or not part:
        return Link(line, target, None, None, embed) if target else None
    if part[0] == "^":
        block = part[1:].strip()
        return Link(line, target, None, block or None, embed) if target or block else None
    return Link(line, target, part, None, embed)


def wikilinks(text: str, line: int) -> list[Link]:
    """The wikilinks in `text`, all said to be on `line`; code and comments are not looked for."""
    found = [wikilink(m[1], line, text[m.start() - 1 : m.start()] == "!") for m in _WIKILINK.finditer(text)]
    return [link for link in found if link]


def destination(line: str, at: int) -> re.Match[str] | None:
    """The match of a Markdown link's `(destination "title")` whose `(` is at `at`."""
    return _DESTINATION.match(line, at)


def markdown_link(found: re.Match[str], line: int, embed: bool = False) -> Link | None:
    """The link to a note that a destination makes; None if it has a scheme or names nothing."""
    path = found[1] if found[1] is not None else found[2]
    if not path or _SCHEME.match(path):
        return None
    if "\\" in path:
        path = _ESCAPE.sub(r"\1", path)
    path, _, part = path.partition("#")
    if "%" in path or "%" in part:
        path, part = unquote(path), unquote(part)
    path, part = path.strip(), part.strip()
    if not path and not part:
        return None
    if part.startswith("^"):
        return Link(line, path, None, part[1:] or None, embed, True)
    return Link(line, path, part or None, None, embed, True)
