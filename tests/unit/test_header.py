"""Fields of a header set line by line: what is written, what stays, and what is refused."""

from __future__ import annotations

from datetime import date

import pytest

from holdfast.errors import QueryError
from holdfast.model import Value
from holdfast.text import frontmatter
from holdfast.text.frontmatter import MAX_BYTES
from holdfast.text.header import set_fields
from holdfast.text.source import BOM, decode


def values(body: bytes) -> dict[str, Value]:
    found = frontmatter.read(decode(body).lines)
    assert not found.failed
    return found.values


def note(header: str) -> bytes:
    return f"---\n{header}\n---\nbody\n".encode()


@pytest.mark.parametrize(
    ("header", "fields", "expected"),
    [
        ("a: 1\nb: 2", {"a": "3"}, "a: 3\nb: 2"),
        ("a:   1  # why\nb: 2", {"a": "3"}, "a:   3  # why\nb: 2"),
        ("'a' : \"x # y\"\t# c: # d", {"a": "z"}, "'a' : z\t# c: # d"),
        ('"a:b:c": 1', {"a:b:c": "2"}, '"a:b:c": 2'),
        ("a:\nb: 2", {"a": "x"}, "a: x\nb: 2"),
        ("a:   # none\nb: 2", {"a": "x"}, "a: x   # none\nb: 2"),
        ("a: !t x # c", {"a": "y"}, "a: y # c"),
        ("a: [x,\n  y] # c\nb: 2", {"a": "z"}, "a: z\nb: 2"),
        ("a: x\n  more\n\n  end\n\n# c\nb: 2", {"a": "z"}, "a: z\n\n# c\nb: 2"),
        ("a: |\n  x\n\n  y\n\n# c\nb: 2", {"a": "z"}, "a: z\n\n# c\nb: 2"),
        ("a: >-\n  x\n# c\nb: 2", {"a": None}, "# c\nb: 2"),
        ("a: |+\n  x\n\n\nb: 2", {"a": "z"}, "a: z\nb: 2"),
        ('a: "x\n  y"\nb: 2', {"a": None}, "b: 2"),
        ("a:\n  k: 1\n  l:\n    - m\nb: 2", {"a": "z"}, "a: z\nb: 2"),
        ("a:\n- x\n- y\nb: 2", {"a": None}, "b: 2"),
        ("  a: 1\n  b: 2", {"a": "3", "c": "4"}, "  a: 3\n  b: 2\n  c: 4"),
        ("# only\n# comments", {"a": "x"}, "# only\n# comments\na: x"),
        ("a: 1\n\n# end", {"b": "x"}, "a: 1\n\n# end\nb: x"),
        ("a: x", {"a": "x y\nz"}, "a: |-\n  x y\n  z"),
        ("a: x # c", {"a": "x\n\n  z\n"}, "a: | # c\n  x\n\n    z\n"[:-1]),
        ("a: x", {"a": " x\ny"}, 'a: " x\\ny"'),
        ("a.b: 1\na:\n  b: 2", {"a.b": "3"}, "a.b: 3\na:\n  b: 2"),
        ("a: 1\nb: &x 2", {"a": "3"}, "a: 3\nb: &x 2"),
        ("? b\n: 2\na: 1", {"a": "3", "c": "4"}, "? b\n: 2\na: 3\nc: 4"),
        ("\u2028: \u2028 x\na: 1", {"\u2028": "y"}, "\u2028: y\na: 1"),
    ],
)
def test_only_the_lines_of_the_key_change(header: str, fields: dict[str, Value], expected: str) -> None:
    edited = set_fields(note(header), fields)
    assert edited == note(expected)
    assert set_fields(edited, fields) == edited


@pytest.mark.parametrize(
    ("header", "value", "expected"),
    [
        ("a: # mine\n  - x\n  # why\n  - 'y'\n  - z # last", ["x", "y", "new", "z"],
         "a: # mine\n  - x\n  # why\n  - 'y'\n  - new\n  - z # last"),
        ("a:\n- x\n- y", ["x", "y", "z"], "a:\n- x\n- y\n- z"),
        ("a:\n- x\n- y", ["w", "x", "y"], "a:\n- w\n- x\n- y"),
        ("a:\n    -   x\n    -   y", ["y"], "a:\n    -   y"),
        ("a:\n- x\n- y\n- z", ["x", "q", "r", "z"], "a:\n- x\n- q\n- r\n- z"),
        ("a:\n- x\n-\n- z", ["x", "", "z"], 'a:\n- x\n- ""\n- z'),
        ("a:\n-\n  x\n- y", ["x"], "a: [x]"),
        ("a:\n- x\n- [y]", ["x"], "a: [x]"),
        ("a:\n- x\n- >\n  y", ["x"], "a: [x]"),
        ("a: # c\n- x", [], "a: [] # c"),
        ("a: [x, y] # c", ["x"], "a: [x] # c"),
        ("a: x", ["p, q", "[[L]]", "null", "a: b", "2024-01-05", "#t", ""],
         'a: ["p, q", "[[L]]", "null", "a: b", 2024-01-05, "#t", ""]'),
    ],
)  # fmt: skip
def test_lists(header: str, value: list[Value], expected: str) -> None:
    body = note(f"{header}\nb: 1")
    assert set_fields(body, {"a": value}) == note(f"{expected}\nb: 1")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain text", "plain text"), ("2024-01-05", "2024-01-05"), ("1.10", "1.10"), ("-5", "-5"), ("no", "no"),
        ("http://x.y/z", "http://x.y/z"), ("it's", "it's"), ("a#b", "a#b"), ("日本", "日本"),
        ("2024-01-05T10:00", None), ("", '""'), ("null", '"null"'), ("~", '"~"'), (" x", '" x"'), ("x ", '"x "'),
        ("a: b", '"a: b"'), ("a:", '"a:"'), ("a #b", '"a #b"'), ("- x", '"- x"'),
        ("-", '"-"'), ("---", '"---"'), ("[[Link]]", '"[[Link]]"'),
        ("#tag", '"#tag"'), ("*x", '"*x"'), ("&x", '"&x"'), ("!x", '"!x"'), ("@x", '"@x"'), ("%x", '"%x"'),
        ('say "x"', 'say "x"'), ('"x"', "'\"x\"'"), ("'x'", "\"'x'\""), ("\"it's\": x", "'\"it''s\": x'"),
        ("C:\\x: y", "'C:\\x: y'"), ("a\tb", '"a\\tb"'), ("a\\\tb", '"a\\\\\\tb"'), ("a\rb", '"a\\rb"'),
        ("\x85", '"\\u0085"'), ("\u2028", '"\\u2028"'), ("\ufeff", '"\\ufeff"'), ("\0", '"\\0"'), ("\x7f", '"\\u007f"'),
        ("\uffff", '"\\uffff"'), ("\n", '"\\n"'), ("a\n\n", '"a\\n\\n"'), ("a\r\nb", '"a\\r\\nb"'), ("?", '"?"'),
        ("? x", '"? x"'), ("a\n ", '"a\\n "'), ("Null", None), ("\xa0x", None), ("a\n\tb", "|-\n  a\n  \tb"),
    ],
)  # fmt: skip
def test_texts_come_back_as_they_are(text: str, written: str | None) -> None:
    edited = set_fields(note("b: 1"), {"a": text})
    assert values(edited) == {"a": text, "b": "1"}
    if written is not None:
        assert edited == note(f"b: 1\na: {written}")
    assert values(set_fields(note("b: 1"), {"a": [text, text]})) == {"a": [text, text], "b": "1"}
    if text and "\n" not in text:
        assert values(set_fields(note("b: 1"), {text: "x"})) == {text: "x", "b": "1"}


def test_a_header_is_made() -> None:
    assert set_fields(b"", {"a": "x"}) == b"---\na: x\n---\n"
    assert set_fields(BOM + b"text\r\n", {"a": "x", "b": ["y"]}) == BOM + b"---\r\na: x\r\nb: [y]\r\n---\r\ntext\r\n"
    assert set_fields(b"---\n---\n\xff", {"a": "x"}) == b"---\na: x\n---\n\xff"
    assert set_fields(b"---\n\nrule", {"a": "x"}) == b"---\na: x\n---\n---\n\nrule"
    assert set_fields(b"---\n---", {"a": "x"}) == b"---\na: x\n---"


def test_what_is_so_already_is_not_written() -> None:
    body = note("a: 'x'\nb: [ p,q ]\nc: null")
    assert set_fields(body, {"a": "x", "b": ["p", "q"], "d": None}) is body
    assert set_fields(body, {}) is body
    assert set_fields(b"text", {"a": None}) == b"text"
    assert set_fields(body, {"c": None}) == note("a: 'x'\nb: [ p,q ]")


def test_bytes_line_ends_and_mark_stay() -> None:
    body = BOM + b"--- \r\na: 1 # \xff # \xfe\nb: \xff\r\nc:\r\n- x\n- y\r\n---\t\r\n\xff\0"
    edited = set_fields(body, {"a": "2", "c": ["x", "z", "y"], "d": "p\nq"})
    assert edited == (
        BOM + b"--- \r\na: 2 # \xff # \xfe\nb: \xff\r\nc:\r\n- x\n- z\r\n- y\r\nd: |-\r\n  p\r\n  q\r\n---\t\r\n\xff\0"
    )
    assert values(edited) == {"a": "2", "b": "\ufffd", "c": ["x", "z", "y"], "d": "p\nq"}


def test_of_a_key_that_stands_twice_the_last_is_set_and_both_go() -> None:
    body = note("a: 1\nb: 2\na: 3")
    assert set_fields(body, {"a": "4"}) == note("a: 1\nb: 2\na: 4")
    assert set_fields(body, {"a": None}) == note("b: 2")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("a: *x", "does not parse"),
        ("a: 1\nb: c: d", "On line 3"),
        ("words", "no mapping"),
        ("a: &x 1", "has an anchor"),
        ("&k a: 1", "has an anchor"),
        ("a: [1, &x 2]", "has an anchor"),
        ("? a\n: 1", "not written as"),
        ("{a: 1, b: 2}", "braces"),
        ("x: 1\n...", "cannot be set"),
    ],
)
def test_headers_that_are_refused(header: str, words: str) -> None:
    with pytest.raises(QueryError, match=words) as caught:
        set_fields(note(header), {"a": "2"})
    assert "by hand" in caught.value.hint


def test_a_header_never_closed_is_refused() -> None:
    with pytest.raises(QueryError, match="never closed"):
        set_fields(b"---\na: 1\n", {"a": "2"})


def test_a_header_over_its_limit_is_refused() -> None:
    with pytest.raises(QueryError, match=f"over {MAX_BYTES} bytes"):
        set_fields(note("a: 1"), {"b": "x" * MAX_BYTES})


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (3, "3"),
        (-1.5, "-1.5"),
        (True, "true"),
        (False, "false"),
        (date(2026, 1, 2), "2026-01-02"),
        (["x", 3], "[x, 3]"),
    ],
)
def test_numbers_dates_and_truth_are_written_as_yaml_has_them(value: object, line: str) -> None:
    assert f"a: {line}".encode() in set_fields(note("a: 1"), {"a": value})


@pytest.mark.parametrize("value", [{"k": "v"}, [["x"]], [None], b"x", object()])
def test_values_that_are_refused(value: object) -> None:
    with pytest.raises(QueryError, match="neither a text"):
        set_fields(note("a: 1"), {"a": value})


@pytest.mark.parametrize(
    ("key", "value"), [("", "x"), ("a\nb", "x"), ("\ud800", "x"), ("a", "\ud800"), ("a", ["\ud800"])]
)
def test_names_and_texts_that_are_refused(key: str, value: Value) -> None:
    with pytest.raises(QueryError, match=r"surrogate|no name"):
        set_fields(note("a: 1"), {key: value})


def test_a_comment_does_not_become_text() -> None:
    """What stands behind a value would be read as more of a block of text: one line is written, or nothing."""
    body = note("a: 1\n  # indented\nb: 2")
    assert set_fields(body, {"a": "x\ny"}) == note('a: "x\\ny"\n  # indented\nb: 2')
    with pytest.raises(QueryError, match="another field would change"):
        set_fields(note("p: |\n  text\na: 1\n  # indented\nb: 2"), {"a": None})


def test_all_or_nothing() -> None:
    with pytest.raises(QueryError):
        set_fields(note("a: 1\nb: &x 2"), {"a": "3", "b": "4"})
    assert set_fields(note("a: 1\nb: 2\nc: 3"), {"c": None, "a": "4", "d": "5"}) == note("a: 4\nb: 2\nd: 5")


def test_a_link_that_was_set_is_a_link() -> None:
    found = frontmatter.read(decode(set_fields(note("b: 1"), {"up": "[[Plan]]"})).lines)
    assert [(link.target, link.line) for link in found.links] == [("Plan", 3)]
