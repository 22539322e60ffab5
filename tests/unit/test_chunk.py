"""Chunks: where they begin and end, in lines and in bytes, and what they hold."""

from __future__ import annotations

import pytest

from holdfast.model import Chunk
from holdfast.text.chunk import HEADING_CHARS, chunk, chunk_digest, chunk_text
from holdfast.text.markdown import MARKS
from holdfast.text.note import parse

LIMIT = 1000
"""250 tokens in bytes."""

HEADER = "---\ntype: conversation\n---\n"


def chunks(text: str | bytes, max_tokens: int = 250) -> list[Chunk]:
    """The chunks of a note, each proven to be what its range says."""
    data = text if isinstance(text, bytes) else text.encode()
    document = parse(data, "n.md")
    found = chunk(document, max_tokens)
    at = 0
    for c in found:
        assert at <= c.start < c.start + c.size <= len(data)
        at = c.start + c.size
        raw = data[c.start : at]
        assert c.text == chunk_text(raw, document.is_conversation)
        assert c.digest == chunk_digest(c.text, c.heading)
        assert len(c.text.encode()) <= max_tokens * 4
        assert c.line == data[: c.start].count(b"\n") + 1
        assert c.count == raw.count(b"\n") + 1
    return found


def spans(found: list[Chunk]) -> list[tuple[int, int]]:
    return [(c.line, c.count) for c in found]


def paragraph(size: int, letter: str = "x") -> str:
    return (letter * 49 + "\n") * (size // 50)


def test_blank_notes_have_no_chunk() -> None:
    for text in ("", "\n", "  \n\t\n", "---\ntitle: x\n---\n", "---\ntitle: x\n---\n\n \n", "\ufeff\n"):
        assert chunks(text) == []


def test_frontmatter_is_in_no_chunk() -> None:
    (found,) = chunks("---\ntitle: T\n---\n\nBody\n\n")
    assert (found.line, found.count, found.text, found.start, found.size) == (5, 1, "Body", 18, 4)


def test_sections_and_their_headings() -> None:
    text = "intro\n\n# A\nx\n\n## B #b\ny\n# C\n\nSub\n---\nz\n"
    found = chunks(text)
    assert [(c.heading, c.text) for c in found] == [
        ("", "intro"),
        ("A", "# A\nx"),
        ("A > B #b", "## B #b\ny"),
        ("C > Sub", "# C\n\nSub\n---\nz"),
    ]


def test_heading_without_text_goes_with_the_deeper_one() -> None:
    assert spans(chunks("# A\n\n## B\n### C\nx\n## D\n# E\n# F\n")) == [(1, 5), (6, 1), (7, 1), (8, 1)]


def test_small_sections_are_not_merged() -> None:
    assert len(chunks("# A\na\n# B\nb\n")) == 2


def test_headings_in_code_and_comments_divide_nothing() -> None:
    (found,) = chunks("# A\n```\n# B\n```\n<!--\n# C\n-->\n%% x %%\n")
    assert found.heading == "A"
    assert "%% x %%" in found.text
    assert "# C" in found.text


def test_paragraphs_are_packed_whole() -> None:
    text = "# A\n\n" + paragraph(400) + "\n" + paragraph(400) + "\n" + paragraph(400)
    assert spans(chunks(text)) == [(1, 19), (21, 8)]


def test_list_that_fits_is_not_cut() -> None:
    items = "".join(f"- item {n} {'x' * 40}\n" for n in range(10))
    found = chunks(paragraph(600) + "\n" + items)
    assert spans(found) == [(1, 12), (14, 10)]


def test_long_list_is_cut_between_items() -> None:
    items = "".join(f"- item {n} {'x' * 40}\n  goes on\n" for n in range(40))
    found = chunks(items)
    assert len(found) > 2
    assert all(c.text.startswith("- item") and c.text.endswith("goes on") for c in found)


def test_fence_that_fits_is_not_cut() -> None:
    fence = "```\n" + "code\n\n" * 100 + "```\n"
    found = chunks(paragraph(700) + fence + paragraph(700))
    assert [c.text.count("```") for c in found] == [0, 2, 0]
    found = chunks(paragraph(700) + "- x\n  ~~~\n" + "  code\n\n" * 100 + "  ~~~\n" + paragraph(700))
    assert [c.text.count("~~~") for c in found] == [0, 2, 0]


def test_long_fence_is_cut_at_line_ends() -> None:
    fence = "```\n" + "".join(f"line {n}\n\n" for n in range(300)) + "```\n"
    found = chunks("# A\n" + fence)
    assert found[0].text.startswith("# A\n```\nline 0\n")
    assert all(c.text.startswith("line") for c in found[1:])
    assert sum(c.text.count("line ") for c in found) == 300


def test_long_line_is_cut_at_blanks() -> None:
    found = chunks("# A\n\n" + "word " * 1000 + "\n\nnext\n")
    assert found[0].text.startswith("# A\n\nword")
    assert all(set(c.text.split()) <= {"#", "A", "word"} for c in found[:-1])
    assert [c.line for c in found] == [1] + [3] * (len(found) - 2) + [5]


@pytest.mark.parametrize("char", ["x", "é", "日", "🎉"])
def test_long_line_without_blanks_is_cut_between_characters(char: str) -> None:
    found = chunks(char * 2000)
    assert "".join(c.text for c in found) == char * 2000
    assert all(len(c.text.encode()) > LIMIT - 4 for c in found[:-1])


def test_bad_bytes_count_as_what_is_read() -> None:
    found = chunks(b"\xff" * 3000 + b"\n" + b"\x80" * 3000 + b"\0\n" + b"\xe6\x97" * 2000)
    assert sum(c.size for c in found) == 6000 + 1 + 4000


def test_blank_pieces_of_a_long_line_are_left_out() -> None:
    assert [c.text.strip() for c in chunks("a" + " " * 5000 + "b")] == ["a", "b"]


def test_bytes_are_those_of_the_file() -> None:
    data = "\ufeff---\r\ntitle: é\r\n---\r\n# É\r\nx\r\n\r\n## B\r\ny\0z\r\n".encode()
    found = chunks(data)
    assert [c.text for c in found] == ["# É\nx", "## B\nyz"]
    assert [data[c.start : c.start + c.size] for c in found] == ["# É\r\nx".encode(), b"## B\r\ny\0z"]


def test_nul_between_the_two_characters_of_a_line_end() -> None:
    data = b"a\r\0\n\nb\r\0\n"
    assert [c.text for c in chunks(data)] == ["a\n\nb"]
    assert [c.text for c in chunks(b"a\r")] == ["a\r"]


def test_turns_are_chunks_of_their_own() -> None:
    text = (
        HEADER
        + "# Before\ntext\n\n<!-- turn 1 a b 2024-01-05T10:00Z -->\nHow?\n\n# Not a heading\n\n<!-- turn 2 c -->\n"
    )
    found = chunks(text + "<!-- turn 3 d -->\n\nx\n\n\n")
    assert [(c.line, c.count, c.heading, c.text, c.speaker, c.at) for c in found] == [
        (4, 2, "Before", "# Before\ntext", None, None),
        (8, 3, "", "How?\n\n# Not a heading", "a b", "2024-01-05T10:00Z"),
        (14, 2, "", "\nx", "d", None),
    ]


def test_escapes_are_undone() -> None:
    turn = "<!-- turn 1 a -->"
    text = f"{HEADER}{turn}\n\\{turn}\n\\\\{turn}\n\\<!-- no marker -->\n \\{turn}\n\\{turn} x\n"
    (found,) = chunks(text)
    assert found.text == f"{turn}\n\\{turn}\n\\<!-- no marker -->\n \\{turn}\n\\{turn} x"
    (found,) = chunks(f"\\{turn}\n")
    assert found.text == f"\\{turn}"


def test_long_turn_is_split_in_blocks() -> None:
    fence = "```\n" + "code\n\n" * 100 + "```\n"
    found = chunks(HEADER + "<!-- turn 1 a -->\n" + paragraph(800) + "\n" + fence + "\nend\n<!-- turn 2 b -->\nx\n")
    assert [c.speaker for c in found] == ["a", "a", "b"]
    assert [c.text.count("```") for c in found] == [0, 2, 0]


def test_open_fence_ends_with_its_turn() -> None:
    found = chunks(HEADER + "<!-- turn 1 a -->\n```\nx\n<!-- turn 2 b -->\ny\n")
    assert [c.text for c in found] == ["```\nx", "y"]


def test_smaller_maximum() -> None:
    found = chunks("# A\n\n" + "word " * 100 + "\n", max_tokens=20)
    assert len(found) > 5


def test_digest_covers_heading_and_text() -> None:
    assert chunk_digest("a", "b") != chunk_digest("a", "c")
    assert chunk_digest("a", "b") == chunk_digest("a", "b")
    assert len(chunk_digest("", "")) == 16


def test_long_heading_is_not_repeated_whole() -> None:
    found = chunks("# " + "x" * 5000 + "\n\ntext\n")
    assert all(len(c.heading) <= HEADING_CHARS for c in found)


def test_marks_are_bounded_and_said() -> None:
    document = parse(b"# h\n\nx\n" * (MARKS + 5), "n.md")
    assert len(document.headings) == MARKS
    assert [p.line for p in document.parsed.problems] == [MARKS * 3 - 2]
    links = parse(b"[[a]] " * (MARKS + 5), "n.md").parsed
    assert len(links.links) == MARKS
    assert [p.line for p in links.problems] == [1]
