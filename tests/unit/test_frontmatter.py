"""The header: limits, lines, and that nothing raises. Its grammar is in test_grammar.py."""

from __future__ import annotations

import pytest

from holdfast.model import Value
from holdfast.text.frontmatter import MAX_BYTES, MAX_DEPTH, Header, first_text, read
from holdfast.text.note import parse


def header(text: str) -> Header:
    return read(f"---\n{text}\n---\nbody".split("\n"))


def test_no_header_is_empty() -> None:
    for lines in ([""], ["text"], [" ---", "a: 1", "---"], ["---"], ["---", "---x"], ["--- x", "---"]):
        found = read(lines)
        assert (found.body, found.values, found.problems, found.failed) == (0, {}, [], False)


def test_lines_of_keys_are_lines_of_the_file() -> None:
    found = header("# c\na: 1\n\nb:\n  - x\n'c': |\n  t\nd: 2")
    assert found.lines == {"a": 3, "b": 5, "c": 7, "d": 9}
    assert found.body == 10


def test_depth_is_allowed_up_to_its_limit() -> None:
    deepest = "a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert not header(deepest).failed
    found = header("x: 1\na: " + "[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert found.failed
    assert [p.line for p in found.problems] == [3]
    block = "\n".join(" " * n + "a:" for n in range(MAX_DEPTH + 1))
    assert header(block).failed


@pytest.mark.parametrize("char", ["x", "é"])
def test_size_is_counted_in_bytes(char: str) -> None:
    room = MAX_BYTES - len("a: ")
    fits = char * (room // len(char.encode()))
    assert not header("a: " + fits).failed
    assert header("a: " + fits + char).failed


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 20_000,
        "a: " + "{" * 20_000,
        "[" * 60_000,
        "a: " + "[\n" * 20_000,
        "a: " + "- " * 20_000,
        "? " * 20_000,
        "a: &a [*a, *a]",
        "a: &x [1]\nb: &y [*x, *x]\nc: [*y, *y]",
        "a: 2024-13-45",
        "%YAML 9.9",
        "%TAG ! x",
        "a: !<tag:x> 1",
        "a: ! ",
        "a: *",
        "a: &",
        "a: \x00",
        "a: \ufffe",
        "a: \x7f",
        "a: '",
        'a: "\\xZZ"',
        'a: "\\ud800"',
        "a: |9",
        "]",
        "a: @x",
        "a: `x`",
        ": x",
        "=",
        "<<: 1",
        "--- a",
        "... a",
        "a: \r b",
    ],
)
def test_hostile_headers_never_raise(text: str) -> None:
    found = header(text)
    assert found.body == len(text.split("\n")) + 2
    assert found.failed == (not found.values)
    assert all(1 <= p.line <= found.body for p in found.problems)


def test_failed_header_has_least_trust_and_no_keys() -> None:
    found = parse(b"---\ntrust: own\na: *b\n---\n# Body\n", "n.md").parsed
    assert (found.trust, found.frontmatter, found.title) == ("external", {}, "Body")
    assert parse(b"---\ntrust: own\n" + b"a: b\n" * 20_000 + b"---\n", "n.md").parsed.trust == "external"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "own"),
        ("---\ntype: conversation\n---\n", "imported"),
        ("---\ntype: conversation\ntrust: agent\n---\n", "agent"),
        ("---\ntrust: external\n---\n", "external"),
        ("---\ntrust: [agent, own]\n---\n", "agent"),
        ("---\ntrust: total\n---\n", "own"),
        ("---\ntrust:\n---\n", "own"),
        ("---\ntitle: x\n", "own"),
        ("---\nonly words\n---\n", "external"),
    ],
)
def test_trust(text: str, expected: str) -> None:
    assert parse(text.encode(), "n.md").parsed.trust == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("x", "x"), (["x", "y"], "x"), ([["x"]], "x"), ([], None), ([None, "x"], None), (None, None), ({"a": "b"}, None)],
)
def test_first_text(value: Value, expected: str | None) -> None:
    assert first_text(value) == expected


def test_mapping_where_trust_or_a_date_belongs_is_a_problem() -> None:
    found = header("a: 1")
    assert not found.problems
    parsed = parse(b"---\ntrust: {own: 1}\ncreated: {a: b}\n---\n", "n.md").parsed
    assert [p.line for p in parsed.problems] == [2, 3]
