"""Edits of a note's text: what changes, what stays, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast.errors import NotFound, QueryError
from holdfast.text import edit
from holdfast.text.edit import append, insert, line_end, prepend, replace, section
from holdfast.text.source import BOM


def refused(act: Callable[[], bytes], *words: str) -> QueryError | NotFound:
    with pytest.raises((QueryError, NotFound)) as caught:
        act()
    said = str(caught.value)
    assert all(word in said for word in words), said
    return caught.value


@pytest.mark.parametrize(
    ("body", "text", "expected"),
    [
        (b"", "x", b"x\n"),
        (BOM, "x", BOM + b"x\n"),
        (b"a", "x", b"a\nx\n"),
        (b"a\n", "x\n", b"a\nx\n"),
        (b"a\n", "x\n\n", b"a\nx\n\n"),
        (b"a\n", "\n", b"a\n\n"),
        (b"a\r\nb", "x\ny\r\nz", b"a\r\nb\r\nx\r\ny\r\nz\r\n"),
        (b"a\r\nb\n", "x", b"a\r\nb\nx\n"),
        (b"a\r\nb\r\nc\n", "x", b"a\r\nb\r\nc\nx\r\n"),
        (b"\xff\0\n", "é", b"\xff\0\n\xc3\xa9\n"),
        (b"---\na: 1\n---", "x", b"---\na: 1\n---\nx\n"),
    ],
)
def test_append(body: bytes, text: str, expected: bytes) -> None:
    assert append(body, text) == expected


@pytest.mark.parametrize(
    ("body", "text", "expected"),
    [
        (b"", "x", b"x\n"),
        (b"a", "x", b"x\na"),
        (BOM + b"a\n", "x\ny", BOM + b"x\ny\na\n"),
        (b"---\na: 1\n---\nb\n", "x", b"---\na: 1\n---\nx\nb\n"),
        (b"---\na: 1\n---", "x", b"---\na: 1\n---\nx\n"),
        (BOM + b"---\r\na: 1\r\n---\r\nb", "x", BOM + b"---\r\na: 1\r\n---\r\nx\r\nb"),
        (b"---\na: *bad\n---\n\xff", "x", b"---\na: *bad\n---\nx\n\xff"),
        (b"---\na: 1\n", "x", b"x\n---\na: 1\n"),
    ],
)
def test_prepend(body: bytes, text: str, expected: bytes) -> None:
    assert prepend(body, text) == expected


def test_added_lines_make_no_header() -> None:
    refused(lambda: prepend(b"a\n---\nb\n", "---\n"), "header")
    refused(lambda: append(b"---\na: 1\n", "---"), "header")
    refused(lambda: insert(b"---\nb\n---\n", "b", "---", before=True), "header")


def test_nothing_to_add_is_refused() -> None:
    for act in (append, prepend):
        refused(lambda act=act: act(b"a", ""), "no text")  # type: ignore[misc]
    refused(lambda: insert(b"a", "a", "", before=True), "no text")
    refused(lambda: section(b"# A\n", "A", "", append=True), "no text")


def test_half_a_surrogate_pair_is_refused() -> None:
    refused(lambda: append(b"a", "x\ud800"), "Character 2")
    refused(lambda: replace(b"a", "\ud800", "b"), "Character 1")
    refused(lambda: replace(b"a", "a", "\ud800"), "Character 1")
    refused(lambda: insert(b"a", "\ud800", "b", before=True), "Character 1")


def test_the_prevailing_line_end() -> None:
    assert line_end(b"") == line_end(b"a") == line_end(b"a\r\nb\n") == line_end(b"a\rb\r") == b"\n"
    assert line_end(b"a\r\n") == line_end(b"a\r\nb\r\nc\n") == b"\r\n"


@pytest.mark.parametrize(
    ("body", "old", "new", "expected"),
    [
        (b"a b c", "b", "x", b"a x c"),
        (b"a b c", "b ", "", b"a c"),
        (b"one\r\ntwo\r\n", "one\ntwo", "1\n2\n3", b"1\r\n2\r\n3\r\n"),
        (b"one\ntwo\n", "one\r\ntwo", "1", b"1\n"),
        (b"x\r\na\nb\r\n", "a\nb", "a\nc", b"x\r\na\nc\r\n"),
        (b"\xffa\xfe", "a", "\xe9", b"\xff\xc3\xa9\xfe"),
        (b"---\nstatus: open\n---\n", "open", "done", b"---\nstatus: done\n---\n"),
        (BOM + b"a", "a", "b", BOM + b"b"),
        (b"a.c abc", "a.c", "x", b"x abc"),
        (b"a\\\nb", "\\\n", "-", b"a-b"),
        (b"a\r\nb", "\nb", "", b"a"),
        (b"ab", "ab", "ab", b"ab"),
    ],
)
def test_replace(body: bytes, old: str, new: str, expected: bytes) -> None:
    assert replace(body, old, new) == expected


def test_replace_leaves_line_ends_that_it_does_not_change() -> None:
    body = b"first\r\nsecond\nthird\nfourth\n"
    assert replace(body, "first\nsecond\nthird", "first\n2\nthird") == b"first\r\n2\nthird\nfourth\n"
    assert replace(body, "first\nsecond", "1\nsecond") == b"1\r\nsecond\nthird\nfourth\n"


def test_replace_as_often_as_is_said() -> None:
    assert replace(b"a b a", "a", "x", 2) == b"x b x"
    refused(lambda: replace(b"a b a", "a", "x"), "2 times, not once", "count")
    refused(lambda: replace(b"a b a", "a", "x", 1), "2 times, not once")
    refused(lambda: replace(b"a b a", "a", "x", 3), "2 times, not 3 times")
    refused(lambda: replace(b"a b", "a", "x", 2), "once, not 2 times")
    refused(lambda: replace(b"a", "a", "x", 0), "count is 0")
    refused(lambda: replace(b"a", "", "x"), "empty")


def test_overlapping_text_is_ambiguous() -> None:
    refused(lambda: replace(b"aaa", "aa", "b"), "2 times")
    assert replace(b"x\r\n\r\ny", "\n\ny", "!") == b"x!"


def test_what_is_not_found_is_said_with_the_nearest_line() -> None:
    body = b"# Plan\n\nThe  quick brown Fox jumps\nother words here\n"
    refused(lambda: replace(body, "the quick brown fox", "x"), "not found", "Line 3 is near: The  quick")
    refused(lambda: replace(body, "a quick brown cat jumps", "x"), "Line 3 is near")
    refused(lambda: replace(body, "nothing like it", "x"), "not found", "Read the note again")
    refused(lambda: replace(body, "\n\n\n", "x"), "not found", "Read the note again")
    refused(lambda: replace(BOM + b"a", "\ufeffa", "b"), "not found")


def test_replace_does_not_break_the_header() -> None:
    body = b"---\ntitle: A plan\ntags: [a]\n---\nplan\n"
    refused(lambda: replace(body, "A plan", "A: plan"), "does not parse", "quote")
    refused(lambda: replace(body, "[a]\n---", "[a]"), "never closed")
    refused(lambda: replace(b"---\n\na: 1\n---\nb", "1\n---", "1"), "no end")
    refused(lambda: replace(b"- - -\na: *x\n---\nb", "- - -", "---"), "does not parse")
    broken = b"---\ntitle: A: plan\n---\n"
    assert replace(broken, "A: plan", "A plan") == b"---\ntitle: A plan\n---\n"
    assert replace(broken, "A: plan", "B: plan") == b"---\ntitle: B: plan\n---\n"


NOTE = b"""---
title: x
---
# Top

intro

## A

old
more

### Deep

text

## B
tight
## C

```
## Code
```
"""


def test_section_replaces_up_to_the_next_heading_of_its_level() -> None:
    expected = NOTE.replace(b"old\nmore\n\n### Deep\n\ntext\n", b"new\n")
    assert section(NOTE, "A", "new") == section(NOTE, "## A", "new\n") == section(NOTE, "## A ##", "new") == expected
    assert section(NOTE, "Deep", "new") == NOTE.replace(b"text\n", b"new\n")
    assert section(NOTE, "B", "x\ny") == NOTE.replace(b"tight\n", b"x\ny\n")
    assert section(NOTE, "B", "") == NOTE.replace(b"tight\n", b"")
    assert section(NOTE, "C", "x") == NOTE[: NOTE.index(b"```")] + b"x\n"
    assert section(NOTE, "Top", "x") == NOTE[: NOTE.index(b"intro")] + b"x\n"


def test_section_appends_to_its_end() -> None:
    assert section(NOTE, "A", "new", append=True) == NOTE.replace(b"text\n", b"text\nnew\n")
    assert section(NOTE, "B", "x\n", append=True) == NOTE.replace(b"tight\n", b"tight\nx\n")
    assert section(b"# A\r\nx", "A", "y", append=True) == b"# A\r\nx\r\ny\r\n"
    assert section(b"# A", "A", "y", append=True) == b"# A\ny\n"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"# A", b"# A\nnew\n"),
        (b"# A\n", b"# A\nnew\n"),
        (b"# A\n\n", b"# A\n\nnew\n"),
        (b"# A\n# B\n", b"# A\nnew\n\n# B\n"),
        (b"# A\n\n# B\n", b"# A\n\nnew\n\n# B\n"),
        (b"# A\n\n\n# B\n", b"# A\n\nnew\n\n# B\n"),
        (b"A\n=\n\nB\n=\n", b"A\n=\n\nnew\n\nB\n=\n"),
    ],
)
def test_section_without_content_gets_some(body: bytes, expected: bytes) -> None:
    assert section(body, "A", "new") == section(body, "A", "new", append=True) == expected


def test_a_blank_line_keeps_an_underlined_heading_apart() -> None:
    assert section(b"# A\n\n```\n```\nB\n===\n", "A", "x") == b"# A\n\nx\n\nB\n===\n"


def test_section_of_a_conversation_ends_at_its_first_turn() -> None:
    body = b"---\ntype: conversation\n---\n# A\nx\n\n<!-- turn 1 me -->\n# A\ny\n"
    assert section(body, "A", "z") == body.replace(b"x\n", b"z\n")
    refused(lambda: section(body, "A", "<!-- turn 0 you -->"), "turns")


def test_a_heading_must_be_one() -> None:
    body = b"# A\n## A\n## B ##\n```\n# Code\n```\n> # Quoted\n"
    refused(lambda: section(body, "A", "x"), "2 lines (1, 2)", "level")
    assert section(body, "## A", "x").startswith(b"# A\n## A\nx\n")
    many = b"# A\n" * 12
    refused(lambda: section(many, "# A", "x"), "12 lines (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ...)")
    for missing in ("Code", "Quoted", "### A", "a", ""):
        error = refused(lambda missing=missing: section(body, missing, "x"), "# A; ## A; ## B.")  # type: ignore[misc]
        assert isinstance(error, NotFound)
    refused(lambda: section(b"x", "A", "x"), "no headings")
    refused(lambda: section(b"".join(b"# %d\n" % n for n in range(12)), "A", "x"), "and 2 more")
    assert section("# é\nx\n".encode(), "e\u0301", "y") == "# é\ny\n".encode()


@pytest.mark.parametrize("text", ["```\ncode", "<!-- \nopen", "%%\nopen"])
def test_section_does_not_swallow_the_rest(text: str) -> None:
    body = b"# A\n\nold\n\n# B\n\n-->\n%%\n```\n```\n"
    refused(lambda: section(body, "A", text), "headings", "Close")


def test_section_makes_no_header() -> None:
    refused(lambda: section(b"---\n# A\nold\n", "A", "---"), "headings")


def test_section_of_a_note_not_read_to_its_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.text.markdown.MARKS", 3)
    monkeypatch.setattr(edit, "MARKS", 3)
    refused(lambda: section(b"# A\nold\n# B\n# C\n# D\n", "A", "x"), "more headings")


def test_insert() -> None:
    body = b"one\r\ntwo \xff\r\nthree"
    assert insert(body, "two", "x\ny", before=True) == b"one\r\nx\r\ny\r\ntwo \xff\r\nthree"
    assert insert(body, "two", "x", before=False) == b"one\r\ntwo \xff\r\nx\r\nthree"
    assert insert(body, "three", "x\n", before=False) == body + b"\r\nx\r\n"
    assert insert(BOM + b"a\n", "a", "x", before=True) == BOM + b"x\na\n"
    assert insert(b"a a\nb\n", "a", "x", before=False) == b"a a\nx\nb\n"


def test_insert_at_one_line_only() -> None:
    refused(lambda: insert(b"a\nb\na\n", "a", "x", before=True), "on 2 lines (lines 1, 3)")
    refused(lambda: insert(b"a\n" * 20, "a", "x", before=True), "at least 11 lines", "9, 10)")
    refused(lambda: insert(b"some words here\n", "Some Words", "x", before=True), "not found", "Line 1 is near")
    refused(lambda: insert(b"a\nb\n", "a\nb", "x", before=True), "one line")
    refused(lambda: insert(b"a\n", "", "x", before=True), "one line")


def test_insert_in_the_header() -> None:
    body = b"---\na: 1\n---\nb\n"
    assert insert(body, "a: 1", "c: 2", before=False) == b"---\na: 1\nc: 2\n---\nb\n"
    assert insert(body, "a: 1", "c: 2", before=True) == b"---\nc: 2\na: 1\n---\nb\n"
    refused(lambda: insert(body, "a: 1", "c: *x", before=False), "header")
    refused(lambda: insert(body, "a: 1", "---", before=False), "header")
    assert insert(b"---\na: *x\n---\nb\n", "a: ", "c: 2", before=True) == b"---\nc: 2\na: *x\n---\nb\n"
    refused(lambda: insert(b"---\na: 1\n--- \nb\n", "--- ", "x\ny", before=True), "header")
