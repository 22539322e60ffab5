"""One pass over a line of text: its links and tags, and what hides them (code, math, comments, escapes, HTML, URLs).

Tokens are taken from left to right; whoever begins first wins. What can fail to close (a wikilink, `$x$`) is matched as
a whole by the pattern, so that a failed start costs nothing more; code spans are paired through a table of the line's
backtick runs. Linear in the line, and `limit` tokens at most.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable

from holdfast.model import Link
from holdfast.text.links import WIKILINK, destination, markdown_link, wikilink
from holdfast.text.tags import tag_at

# Each alternative begins with a plain character: so the search skips to the next of these eight in C.
_TOKEN = r"""
    \[\[ (?#wikilink)
  | \#(?<![^\s(\[*_]\#)(?=[\w/-]|[^\x00-\x7f])
  | \\[!-/:-@\[-`{-~]
  | ``*+
  | \$(?<!\$\$)(?![\s$])[^$\\]*+(?:\\.[^$\\]*+)*+\$(?<!\s\$)(?!\d)
  | \$\$(?<!\$\$\$)(?!\$)
  | %%
  | <!--
  | </?[A-Za-z][^<>]*+>
  | ://[^\s<>`\[\]]*+
""".replace(r"\[\[ (?#wikilink)", WIKILINK)
_PLAIN = re.compile(_TOKEN, re.VERBOSE)
# Brackets matter one by one only on a line that has a Markdown link.
_BRACKETS = re.compile(_TOKEN + r" | \[ | \]", re.VERBOSE)

_RUNS = re.compile("`+")

COMMENT, HTML_COMMENT, MATH = "%%", "-->", "$$"
"""What closes a comment, an HTML comment and a block of math."""


class Inline:
    """What stands on a line, by position.

    `links` and `tags` are (start, ...) in reading order; `opaque` are the spans of code, math and escapes, `comments`
    those of comments; `opens` are (start, closer) of the first comment of each kind, and math, that does
    not close on the line.
    """

    __slots__ = ("comments", "links", "opaque", "opens", "tags", "tokens")

    def __init__(self) -> None:
        self.links: list[tuple[int, Link]] = []
        self.tags: list[tuple[int, str]] = []
        self.opaque: list[tuple[int, int]] = []
        self.comments: list[tuple[int, int]] = []
        self.opens: list[tuple[int, str]] = []
        self.tokens = 0

    def cut(self, at: int, end: int) -> None:
        """Make all from `at` to `end`, the line's end, a comment."""
        self.links = [x for x in self.links if x[0] < at]
        self.tags = [x for x in self.tags if x[0] < at]
        self.opaque = [x for x in self.opaque if x[0] < at]
        self.comments = [x for x in self.comments if x[0] < at]
        self.comments.append((at, end))


def scan(line: str, number: int, at: int, limit: int) -> Inline | None:
    """What stands on `line`, the `number`-th of its file, from `at` on; None if that is plain text."""
    search = (_BRACKETS if "](" in line else _PLAIN).search
    match = search(line, at)
    if match is None:
        return None
    return _Scan(line, number).run(search, match, limit)


class _Scan:
    __slots__ = ("brackets", "clear", "left", "line", "missing", "number", "out", "runs", "spent", "tagless")

    def __init__(self, line: str, number: int) -> None:
        self.line = line
        self.number = number
        self.out = Inline()
        self.left = 0  # how many tokens may still be taken
        self.tagless = 0  # where the HTML tag that was met last ends
        self.clear = 0  # where the last token ends: a `!` before it is escaped or spent
        self.brackets: list[tuple[int, bool]] = []  # the open `[`, and whether a `!` stands before it
        self.spent = 0  # how many of them have a link inside, so that they can only be an image
        self.missing: set[str] = set()  # closers that do not follow on this line
        self.runs: dict[int, list[int]] | None = None

    def run(
        self, search: Callable[[str, int], re.Match[str] | None], match: re.Match[str] | None, limit: int
    ) -> Inline:
        line, out = self.line, self.out
        self.left = limit
        while match is not None and self.left > 0:
            self.left -= 1
            start, end = match.span()
            char = line[start]
            if char == "[":
                if end - start > 1:
                    link = wikilink(match[1], self.number, self._is_embed(start))
                    if link is not None:
                        out.links.append((start, link))
                else:
                    self.brackets.append((start, self._is_embed(start)))
            elif char == "#":
                end = self._tag(start)
            else:
                end = self._other(char, start, end)
            self.clear = end
            match = search(line, end)
        out.tokens = limit - self.left
        if len(out.links) > 1:  # a link around an image begins before it and is found after it
            out.links.sort(key=lambda x: x[0])
        return out

    def _is_embed(self, start: int) -> bool:
        return start > self.clear and self.line[start - 1] == "!"

    def _tag(self, at: int) -> int:
        found = tag_at(self.line, at)
        if found is None or at < self.tagless:
            return at + 1
        name, end = found
        self.out.tags.append((at, name))
        while self.left > 0 and self.line.startswith("#", end) and (found := tag_at(self.line, end)) is not None:
            self.left -= 1
            self.out.tags.append((end, found[0]))
            end = found[1]
        return end

    def _other(self, char: str, start: int, end: int) -> int:
        """Take the token at `start` that is neither a wikilink nor a tag; where the next may begin."""
        line, out = self.line, self.out
        if char == "\\":
            out.opaque.append((start, end))
        elif char == "`":
            close = self._code(start, end)
            if close:
                out.opaque.append((start, close))
                return close
        elif char == "]":
            return self._bracket(end)
        elif (char == "$" and end - start > 2) or char == ":":
            if char == "$":
                out.opaque.append((start, end))
        elif char == "<" and line[start + 1] != "!":
            self.tagless = end
            return start + 1
        else:
            return self._until(char, start, end)
        return end

    def _until(self, char: str, start: int, end: int) -> int:
        """Take a comment or `$$` math that begins at `start`."""
        line = self.line
        closer = HTML_COMMENT if char == "<" else char * 2
        # `<!-->` and `<!--->` are whole comments, as in HTML.
        close = -1 if closer in self.missing else line.find(closer, start + 2)
        if close < 0:
            # What holds for the first that does not close holds for the others: one search, one entry.
            if closer not in self.missing:
                self.missing.add(closer)
                self.out.opens.append((start, closer))
            return end
        close += len(closer)
        (self.out.opaque if closer == MATH else self.out.comments).append((start, close))
        return close

    def _code(self, start: int, end: int) -> int:
        """Where the code span whose backticks are `start` to `end` ends; 0 if it never closes."""
        if self.runs is None:
            self.runs = {}
            for run in _RUNS.finditer(self.line, start):
                self.runs.setdefault(run.end() - run.start(), []).append(run.start())
        closers = self.runs.get(end - start, [])
        n = bisect_left(closers, end)
        return closers[n] + end - start if n < len(closers) else 0

    def _bracket(self, end: int) -> int:
        """Take a `]`: the end of a Markdown link if a destination follows and a `[` is open."""
        if not self.brackets:
            return end
        start, is_embed = self.brackets.pop()
        is_spent = len(self.brackets) < self.spent
        self.spent = min(self.spent, len(self.brackets))
        found = None if is_spent and not is_embed else destination(self.line, end)
        if found is None:
            return end
        out = self.out
        link = markdown_link(found, self.number, is_embed)
        if link is not None:
            out.links.append((start, link))
        while out.tags and out.tags[-1][0] > start:
            out.tags.pop()
        if not is_embed:
            self.spent = len(self.brackets)
        out.opaque.append((end, found.end()))
        return found.end()
