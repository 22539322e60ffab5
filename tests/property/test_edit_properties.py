"""Whatever the note: an edit keeps each byte that it was not asked to change, and says what it was asked to say."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from holdfast.errors import QueryError
from holdfast.model import Value
from holdfast.text import frontmatter
from holdfast.text.edit import append, insert, line_end, prepend, replace, section
from holdfast.text.header import set_fields
from holdfast.text.merge import diff3_text, merge, unified
from holdfast.text.note import parse
from holdfast.text.source import BOM, decode
from tests.property.test_parse_properties import FRAGMENTS

KEYS = ["a", "b", "tags", "x.y", "odd key", "q:r", "'s'"]
SPELLED = {"odd key": ['"odd key"', "odd key "], "q:r": ["'q:r'", "q:r"], "'s'": ["\"'s'\"", "'''s'''"]}

# What may stand behind a key: the rest of its line, and the lines that follow.
AFTER_KEY = [
    ":", ": ", ": x", ":  'odd ''quoting'' # here'  # c: d #", ': "\\u00e9: # \\" y"', ": null", ": ~ # none",
    ": x:y#z", ":\n  - p\n  - 'q'", ":\n- p\n# inside\n- q # c", ": # why\n    -   p\n\n    - [q, r]",
    ": [p, q] # c", ": [p,\n  # in\n  q]", ": {k: v,\n l: m}", ":\n  k: v\n  l:\n  - m", ": !tag x",
    ": |\n  p\n\n  # q\n   r", ": >-\n    p\n    q", ": |+\n  p\n", ": |2\n    p",
    ": plain\n  more # c", ': "two\n\n  lines" # c', ": 'it''s\n  two'", ": \t x\t#c",
    ": \ufffd \u2028 \x85 y", ":\n  x # c", ":\n  -\n    p\n  - q",
    ": [[link]]", ': "[[Link]]"', ": ---x",
]  # fmt: skip
BETWEEN = ["# comment: x", "", "# a\n\n# b \t", "#\t\ufffd", "   ", "# - x"]

TEXT = st.one_of(
    st.text(max_size=12),
    st.lists(
        st.sampled_from([*FRAGMENTS, "x", " ", "\r", "'", '"', ": ", " #", "null", "~", "- ", "\\", "1", "\n  "]),
        max_size=6,
    ).map("".join),
)
VALUES: st.SearchStrategy[Value] = st.one_of(TEXT, st.lists(TEXT, max_size=4), st.none())


@st.composite
def headed(draw: st.DrawFn) -> tuple[bytes, list[tuple[str | None, bytes]], bytes]:
    """A note with a header in pieces: what is before them, the lines of each with its key, what is after them."""

    def line(text: str) -> bytes:
        # Bytes that are no UTF-8 stand where U+FFFD is drawn.
        return text.encode().replace("\ufffd".encode(), b"\xff") + draw(st.sampled_from([b"\n", b"\r\n"]))

    pieces: list[tuple[str | None, bytes]] = []
    may_be_blank = True
    for key in draw(st.lists(st.sampled_from([*KEYS, None, None]), max_size=8)):
        if key is None:
            text = draw(st.sampled_from(BETWEEN))
            # A blank line behind a block of text that keeps such lines would be part of it.
            text = text if may_be_blank else "#" + text
            may_be_blank = True
        else:
            rest = draw(st.sampled_from(AFTER_KEY))
            may_be_blank = "|+" not in rest
            text = draw(st.sampled_from(SPELLED.get(key, [key, f'"{key}"', f"{key} "]))) + rest
        pieces.append((key, b"".join(line(part) for part in text.split("\n"))))
    head = draw(st.sampled_from([b"", BOM])) + line(draw(st.sampled_from(["---", "---  "])))
    tail = draw(st.sampled_from([b"---", b"---\n", b"---\r\n\xff\n# H\r\n---\nx", b"--- \n\0"]))
    return head, pieces, tail


def read(body: bytes) -> frontmatter.Header:
    return frontmatter.read(decode(body).lines)


@settings(max_examples=1_000, deadline=None)
@given(headed(), st.sampled_from([*KEYS, "new"]), VALUES)
def test_a_field_changes_its_own_lines_only(
    note: tuple[bytes, list[tuple[str | None, bytes]], bytes], key: str, value: Value
) -> None:
    head, pieces, tail = note
    body = head + b"".join(raw for _, raw in pieces) + tail
    was = read(body)
    assert not was.failed, was.problems
    edited = set_fields(body, {key: value})
    now = read(edited)
    expected = {k: v for k, v in was.values.items() if k != key}
    assert now.values == (expected if value is None else {**expected, key: value})
    assert not now.failed
    assert set_fields(edited, {key: value}) == edited
    own = [n for n, (name, _) in enumerate(pieces) if name == key]
    if value is None:
        assert edited == head + b"".join(raw for name, raw in pieces if name != key) + tail
        return
    at = own[-1] if own else len(pieces)
    before = head + b"".join(raw for _, raw in pieces[:at])
    after = b"".join(raw for _, raw in pieces[at + 1 :]) + tail
    assert len(edited) > len(before) + len(after)
    assert edited.startswith(before)
    assert edited.endswith(after)
    assert edited[len(before) : len(edited) - len(after)].endswith(b"\n")


@settings(max_examples=300, deadline=None)
@given(headed(), st.dictionaries(st.sampled_from([*KEYS, "new", "more"]), VALUES, max_size=5))
def test_fields_together_are_the_fields_one_by_one(
    note: tuple[bytes, list[tuple[str | None, bytes]], bytes], fields: dict[str, Value]
) -> None:
    head, pieces, tail = note
    body = head + b"".join(raw for _, raw in pieces) + tail
    one_by_one = body
    for key, value in fields.items():
        one_by_one = set_fields(one_by_one, {key: value})
    together = set_fields(body, fields)
    assert read(together).values == read(one_by_one).values
    # A last line end of the key may differ, where the one that prevails changes on the way.
    assert together.replace(b"\r\n", b"\n") == one_by_one.replace(b"\r\n", b"\n")


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=60), TEXT.map(str.encode)), st.dictionaries(TEXT, VALUES, max_size=3))
def test_any_bytes_are_set_or_refused(body: bytes, fields: dict[str, Value]) -> None:
    try:
        edited = set_fields(body, fields)
    except QueryError:
        return
    now, was = read(edited), read(body)
    assert now.values == {k: v for k, v in {**was.values, **fields}.items() if k not in fields or v is not None}
    rest = body.removeprefix(BOM).split(b"\n")[was.body :]
    assert edited.removeprefix(BOM).split(b"\n")[now.body :] == rest or (not was.body and edited.endswith(body[3:]))
    assert edited.startswith(BOM) == body.startswith(BOM)


PIECES = [piece.encode() for piece in FRAGMENTS if len(piece) < 20] + [
    b"\xff",
    b"\xe2\x82",
    b"\r",
    b"# A\n",
    b"## B\r\n",
]
BODIES = st.tuples(
    st.sampled_from([b"", BOM]),
    st.sampled_from([b"", b"---\na: b\n---\n", b"---\r\na: b\r\n---\r\n", b"---\na: *x\n---\n", b"---\na: b\n"]),
    st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join),
).map(b"".join)
NEW = st.one_of(TEXT, st.sampled_from(["x", "x\ny\r\nz", "- [a] b", "日本\n"])).filter(bool)


def lines_of(text: str, body: bytes) -> bytes:
    raw = text.encode("utf-8").replace(b"\r\n", b"\n").replace(b"\n", line_end(body))
    return raw if raw.endswith(b"\n") else raw + line_end(body)


@settings(max_examples=400, deadline=None)
@given(BODIES, NEW)
def test_lines_are_added_at_the_ends(body: bytes, text: str) -> None:
    try:
        longer = append(body, text)
    except QueryError:
        assert body.removeprefix(BOM).startswith(b"-")
    else:
        is_open = body not in (b"", BOM) and not body.endswith(b"\n")
        assert longer == body + (line_end(body) if is_open else b"") + lines_of(text, body)
    at = read(body).body
    raw = body.removeprefix(BOM).split(b"\n")
    head, rest = b"\n".join(raw[:at]), b"\n".join(raw[at:])
    mark = BOM if body.startswith(BOM) else b""
    try:
        longer = prepend(body, text)
    except QueryError:
        assert not at
    else:
        expected = mark + head + (b"\n" if at else b"") + lines_of(text, body) + rest
        assert longer == expected or at == len(raw)


@settings(max_examples=400, deadline=None)
@given(BODIES, st.data(), TEXT)
def test_replaced_and_replaced_back(body: bytes, data: st.DataObject, new: str) -> None:
    text = body.decode("utf-8", "ignore").removeprefix("\ufeff")
    assume(text)
    start = data.draw(st.integers(0, len(text) - 1))
    old = text[start : start + data.draw(st.integers(1, 12))]
    assume(new.replace("\r\n", "\n") != "")
    try:
        edited = replace(body, old, new)
        back = replace(edited, new, old)
    except QueryError:
        return
    if line_end(edited) == line_end(body) and (b"\r\n" not in body or "\n" not in old):
        assert back == body
    assert back.replace(b"\r\n", b"\n") == body.replace(b"\r\n", b"\n")


@settings(max_examples=400, deadline=None)
@given(BODIES, st.data(), NEW, st.booleans())
def test_lines_are_inserted_at_a_line(body: bytes, data: st.DataObject, text: str, before: bool) -> None:
    raw = body.removeprefix(BOM).split(b"\n")
    at = data.draw(st.integers(0, len(raw) - 1))
    try:
        anchor = raw[at].decode()
        edited = insert(body, anchor, text, before)
    except (QueryError, UnicodeDecodeError):
        return
    mark = BOM if body.startswith(BOM) else b""
    at += not before
    ended = [line + b"\n" for line in raw[:-1]] + [raw[-1]]
    head = b"".join(ended[:at])
    if at == len(raw) and raw[-1]:
        head += line_end(body)
    assert edited == mark + head + lines_of(text, body) + b"".join(ended[at:])


HEADINGS = [b"# A\n", b"## B\r\n", b"# A b #\n", b"C\n===\n", b"\n\nD d\n---\n", b"### ## E\n"]
SECTIONS = st.tuples(BODIES, st.lists(st.sampled_from([*HEADINGS, *HEADINGS, *PIECES]), min_size=1, max_size=20)).map(
    lambda parts: b"\n".join((parts[0], b"".join(parts[1])))
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(SECTIONS, st.data(), st.one_of(NEW, st.just("")), st.booleans())
def test_a_section_is_all_that_changes(body: bytes, data: st.DataObject, text: str, is_more: bool) -> None:
    document = parse(body, "")
    headings = document.headings
    assume(any(heading.text for heading in headings))
    n = data.draw(st.integers(0, len(headings) - 1))
    own = headings[n]
    assume(own.text)
    after = next((h.start for h in headings[n + 1 :] if h.level <= own.level), None)
    try:
        edited = section(body, f"{'#' * own.level} {own.text}", text, append=is_more)
    except QueryError:
        return
    raw = body.split(b"\n")
    before = b"\n".join(raw[: own.end])
    assert edited.startswith(before)
    if after is not None:
        assert edited.endswith(b"\n" + b"\n".join(raw[after:]))
    if text:
        assert lines_of(text, body) in edited
    if is_more or not text:
        rest = edited.replace(lines_of(text, body), b"", 1) if text else edited
        assert len(rest) <= len(body) + len(line_end(body)) * 2
    now = parse(edited, "").headings
    assert now[: n + 1] == headings[: n + 1]


LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\r\n", b"\n", b"\xff\n"]), max_size=12).map(b"".join)
SIDE = st.tuples(LINES, st.sampled_from([b"", b"end", b"\r"])).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(SIDE, SIDE, SIDE)
def test_a_merge_takes_what_one_side_changed(base: bytes, ours: bytes, theirs: bytes) -> None:
    assert merge(base, ours, base) == merge(base, base, ours) == merge(base, ours, ours) == ours
    assert merge(base, ours, theirs) == merge(base, theirs, ours)
    shown = diff3_text(base, ours, theirs, ("base", "ours", "theirs"))
    assert ("<<<<<<< ours" in shown) == (merge(base, ours, theirs) is None)
    assert (unified(ours, theirs, "a", "b") == "") == (ours == theirs)


@pytest.mark.parametrize("text", ["", "x\n"])
def test_line_ends_of_a_whole_note_are_kept(text: str) -> None:
    body = "".join(f"{n}\r\n" for n in range(9)).encode()
    for edited in (append(body, text or "y"), prepend(body, text or "y"), replace(body, "5", text or "y")):
        assert edited.count(b"\n") == edited.count(b"\r\n")
