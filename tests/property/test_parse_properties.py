"""Whatever the bytes are: nothing raises, lines exist, and chunks cover the text and can be read back from the file."""

from __future__ import annotations

import json
import re
import sys
import time
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.text import runs
from holdfast.text.chunk import chunk, chunk_digest, chunk_text
from holdfast.text.note import Document, parse
from holdfast.text.turns import escape, marker, unescape

FRAGMENTS = [
    "---", "---\n", "title: x", "tags: [a, b]", "type: conversation", "a: &x 1", "*x", "null", '"', "'",
    "[[", "]]", "[[A|b]]", "[[A#b]]", "](", "[a](b.md)", "![", "(", ")", "|", "\\", "^id", "(ctx)",
    "- ", "* ", "1. ", "- [a] b", "- uses [[B]]", "- [ ] ", "[from:: 2024]", "[to:: x]", "::",
    "# ", "## H\n", "===", "#tag", "#", "%%", "<!--", "-->", "$$", "$", "`", "``", "```", "~~~", "> ", "    ", "\t",
    "<!-- turn 1 a -->", "<!-- turn 2 b 2024-01-05T10:00Z -->\n", "\\<!-- turn 1 a -->",
    "word ", "é", "日本", "🎉", "\u0301", "\u200d", "\u2028", "\0", "\ufeff", "\ud7ff", "x" * 300, "w " * 200,
    "\r\n", "\n", "\n", "\n", "\n\n", " ",
]  # fmt: skip

TEXT = st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join)
HEADS = ["", "---\n", "---\ntype: conversation\n---\n", "---\na: b\n---\n"]
HEADED = st.tuples(st.sampled_from(HEADS), TEXT).map("".join)
DATA = st.one_of(
    st.binary(max_size=400),
    HEADED.map(str.encode),
    st.tuples(HEADED.map(str.encode), st.binary(max_size=20), HEADED.map(str.encode)).map(b"".join),
)


def check_parsed(document: Document, data: bytes) -> None:
    lines = data.count(b"\n") + 1
    parsed = document.parsed
    json.dumps(parsed.to_dict()).encode()
    for item in (*parsed.observations, *parsed.relations, *parsed.links, *parsed.turns, *parsed.problems):
        assert 1 <= item.line <= lines
    for items in (parsed.observations, parsed.relations, parsed.turns, parsed.problems):
        order = [item.line for item in items]
        assert order == sorted(order)
    assert all(o.content.strip() == o.content != "" for o in parsed.observations)
    assert all(r.target and r.type for r in parsed.relations)
    assert not {o.line for o in parsed.observations} & {r.line for r in parsed.relations}
    assert len({tag.casefold() for tag in parsed.tags}) == len(parsed.tags)


def check_chunks(document: Document, data: bytes, max_tokens: int) -> None:
    covered: list[int] = []
    at = 0
    for c in chunk(document, max_tokens):
        assert at <= c.start < c.start + c.size <= len(data)
        at = c.start + c.size
        raw = data[c.start : at]
        assert chunk_text(raw, document.is_conversation) == c.text
        assert chunk_digest(c.text, c.heading) == c.digest
        assert len(c.text.encode()) <= max_tokens * 4
        assert c.text.strip()
        assert (c.line, c.count) == (data[: c.start].count(b"\n") + 1, raw.count(b"\n") + 1)
        covered += range(c.line, c.line + c.count)
    lines = document.source.lines
    marked = {turn.line for turn in document.parsed.turns}
    wanted = {n for n in range(document.first + 1, len(lines) + 1) if lines[n - 1].strip()} - marked
    assert wanted <= set(covered)
    assert not marked & set(covered)
    # Only a line too long for one chunk is in several.
    assert all(covered.count(n) == 1 or len(lines[n - 1].encode()) > max_tokens * 2 for n in wanted)


@settings(max_examples=400, deadline=None)
@given(DATA, st.sampled_from([20, 60, 250]))
def test_any_bytes(data: bytes, max_tokens: int) -> None:
    document = parse(data, "a/Note.md")
    check_parsed(document, data)
    check_chunks(document, data, max_tokens)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_any_path(path: str) -> None:
    parsed = parse(b"", path).parsed
    assert parsed.permalink


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_turn_text_comes_back(text: str) -> None:
    escaped = escape(text)
    assert unescape(escaped) == text
    assert not any(marker(line, 1) for line in escaped.split("\n"))


PLAIN = ["", "", "a", "word word", "b" * 70, "ä ö", "Text; and more."]
LINES = st.lists(
    st.one_of(
        st.lists(st.sampled_from(PLAIN), min_size=1, max_size=30),
        st.tuples(st.sampled_from(PLAIN), st.integers(1, 40)).map(lambda x: [x[0]] * x[1]),
        st.lists(st.sampled_from([f.rstrip("\r\n") for f in FRAGMENTS]), min_size=1, max_size=4),
        st.sampled_from(
            [["- item"], ["foo -->"], ["text %%"], ["<!-- x"], ["%%"], ["```"], ["---"], ["    code"], [" "]]
        ),
    ),
    max_size=12,
).map(lambda parts: "\n".join(line for part in parts for line in part))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(HEADS), LINES, st.sampled_from([10, 60, 250]))
def test_runs_of_plain_lines_change_nothing(head: str, text: str, max_tokens: int) -> None:
    """Passed over in one step or taken line by line: the same note."""
    data = (head + text).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "LINES", sys.maxsize)
        slow = parse(data, "a.md")
        slow_chunks = chunk(slow, max_tokens)
        patch.setattr(runs, "LINES", 0)
        patch.setattr(runs, "EMPTY", 4)
        patch.setattr("holdfast.text.chunk.EMPTY", 4)
        patch.setattr(runs, "_RUN", re.compile(runs._RUN.pattern.replace("{16,}", "{1,}"), re.MULTILINE))
        fast = parse(data, "a.md")
        assert (fast.parsed, fast.headings) == (slow.parsed, slow.headings)
        assert chunk(fast, max_tokens) == slow_chunks
        assert chunk(fast, max_tokens, 3) == slow_chunks[:4], "no more than asked for, and one"


def test_runs_of_plain_lines_change_nothing_in_any_short_note() -> None:
    """All notes of five lines of these kinds."""
    kinds = ("", "text", "- item", "    [[code]]", "===", "<!-- x", "y -->")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_RUN", re.compile(runs._RUN.pattern.replace("{16,}", "{1,}"), re.MULTILINE))
        for lines in product(kinds, repeat=5):
            data = "\n".join(lines).encode()
            found = []
            for least in (0, sys.maxsize):
                patch.setattr(runs, "LINES", least)
                document = parse(data, "a.md")
                found.append((document.parsed, document.headings))
            assert found[0] == found[1], lines


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=4).map("".join))
def test_time_is_linear(text: str) -> None:
    """Eight times the text never takes forty times as long, with a floor against noise."""

    def seconds(times: int) -> float:
        data = (text * times).encode()
        start = time.process_time()
        chunk(parse(data, "n.md"))
        return time.process_time() - start

    small = max(seconds(500), 0.005)
    # The shortest of a few: a busy machine makes one run long, not all of them.
    assert any(seconds(4000) < 40 * small for _ in range(4))
