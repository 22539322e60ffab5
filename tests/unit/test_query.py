"""Questions as people type or paste them: whatever it is, it is a query, or a sentence about a date."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.engine.scope import make_search
from holdfast.errors import QueryError
from holdfast.model import Filter, Query
from holdfast.text.query import DATES, KEYS, QUERY_TERMS, QUESTION_CHARS, parse_query
from holdfast.text.tokens import question_terms, terms

PIECES = st.sampled_from(
    [
        '"', "-", "*", ":", "'", "(", ")", " ", "\n", "\0", "tag:", "since:", "as_of:", "until:2024", "from:", "path:/",
        "status:", "AND", "NEAR(", "C++", "o'brien", "x*", "-word", '-"a b"', "since:not-a-date", "since:99999",
        "since:2024-13-45", "until:0000", "ก็*", "ัั*", "्*", "ß*", "İ*", "東*", "ﬁ*", "½*", "title:", "%00", "\ud800",
        "type:task", "-tag:home", "e\u0301*", "\u0301\u0301*", "😀*", "_*", "__*", "--", "---x", ":-)", "a:b:c", "::",
    ]
)  # fmt: skip
anything = st.one_of(st.text(max_size=60), st.lists(st.one_of(PIECES, st.text(max_size=4)), max_size=12).map("".join))


@given(anything, st.booleans())
@example("ัั*", True)
@example("since:" + "9" * 400, True)
def test_any_text_is_a_query_or_a_bad_date(text: str, knows_all: bool) -> None:
    try:
        query = parse_query(text, lambda key: knows_all)
        search = make_search(query)
    except QueryError as e:
        names_a_date = any(f"{d}:" in text.lower() for d in DATES) and bool(e.hint)
        assert names_a_date, text
        return
    assert len(query.words) == len(query.repeats) == len(set(query.words))
    assert all(n > 0 for n in query.repeats)
    assert all(query.prefixes)
    assert all(p and all(p) for p in (*query.phrases, *query.excluded))
    assert all(f.field == f.field.lower() and f.value.strip() == f.value != "" for f in query.filters)
    assert len(search.conditions) == len(query.filters)
    query.text.encode()  # whatever goes on to SQLite or JSON is text


@given(st.lists(st.sampled_from("garden tomato why the Ana's naïve 東京 x86".split()), max_size=8))
def test_plain_words_are_the_terms_of_the_question(words: list[str]) -> None:
    text = " ".join(words)
    query = parse_query(text)
    kept, ignored = question_terms(text)
    assert [t for t, n in zip(query.words, query.repeats, strict=True) for _ in range(n)] == sorted(
        kept, key=list(query.words).index
    )
    assert set(query.ignored) == set(ignored)
    assert (query.phrases, query.excluded, query.filters, query.prefixes) == ((), (), (), ())


def fields(q: Query) -> dict[str, object]:
    keys = ("words", "prefixes", "phrases", "excluded", "filters", "ignored")
    return {k: getattr(q, k) for k in keys if getattr(q, k)}


GRAMMAR: dict[str, dict[str, object]] = {
    "": {},
    "   ": {},
    "the": {"words": ("the",)},
    "running gardens": {"words": ("run", "garden")},
    "what is a garden": {"words": ("garden",), "ignored": ("what", "is", "a")},
    '"to be or not"': {
        "words": ("not",),
        "phrases": (("to", "be", "or", "not"),),
        "ignored": ("to", "be", "or"),
    },
    '"my garden" grows': {"words": ("garden", "grow"), "phrases": (("my", "garden"),), "ignored": ("my",)},
    '"unclosed phrase': {"words": ("unclos", "phrase")},
    '""': {},
    "-beans": {"excluded": (("bean",),)},
    '-"green beans" soup': {"words": ("soup",), "excluded": (("green", "bean"),)},
    "- beans": {"words": ("bean",)},
    "well-known": {"words": ("well", "known")},
    "gard*": {"prefixes": ("gard",)},
    "running*": {"prefixes": ("running",)},
    "ab* c": {"words": ("c",), "prefixes": ("ab",)},
    "a*": {"words": ("a",)},
    "*": {},
    "two-part*": {"words": ("two", "part")},
    "-gard*": {"excluded": (("gard",),)},
    "tag:home": {"filters": (Filter("tag", "home"),)},
    "TAG:Home": {"filters": (Filter("tag", "Home"),)},
    "-tag:home": {"filters": (Filter("tag", "home", negated=True),)},
    'title:"My Plan" x': {"words": ("x",), "filters": (Filter("title", "My Plan"),)},
    "tag: home": {"words": ("tag", "home")},
    'tag:"  "': {"words": ("tag",)},
    "since:2024-05 until:2025": {"filters": (Filter("since", "2024-05"), Filter("until", "2025"))},
    "as_of:2024-05-01": {"filters": (Filter("as_of", "2024-05-01"),)},
    "by:Ana from:Bo": {"filters": (Filter("by", "Ana"), Filter("from", "Bo"))},
    "status:open": {"filters": (Filter("status", "open"),)},
    "nosuch:thing": {"words": ("nosuch", "thing")},
    "C++: a tour": {"words": ("c", "tour"), "ignored": ("a",)},
    "https://example.com/a?b=c": {"words": ("https", "exampl", "com", "b", "c"), "ignored": ("a",)},
    "12:30": {"words": ("12", "30")},
    "a OR b AND NOT c": {"words": ("b", "not", "c"), "ignored": ("a", "or", "and")},
    "(x) {y} [z] NEAR(q, 2)": {"words": ("x", "y", "z", "near", "q", "2")},
    "title:hello'; drop table note; --": {"words": ("drop", "tabl", "note"), "filters": (Filter("title", "hello';"),)},
    "全文検索": {"words": ("全文", "文検", "検索")},
}


@pytest.mark.parametrize("text", GRAMMAR)
def test_grammar(text: str) -> None:
    assert fields(parse_query(text, lambda key: key == "status")) == GRAMMAR[text]


@pytest.mark.parametrize("key", sorted(KEYS))
def test_each_key_is_a_filter_without_asking_the_vault(key: str) -> None:
    assert parse_query(f"{key}:2024").filters == (Filter(key, "2024"),)


@pytest.mark.parametrize("date", ["yesterday", "2024-13", "2024-02-30", "x", "24", "1-1-1", "2024-05-01T99:00"])
@pytest.mark.parametrize("key", sorted(DATES))
def test_a_date_that_is_none_is_named(key: str, date: str) -> None:
    with pytest.raises(QueryError, match=f"{key}:{date}"):
        parse_query(f"water {key}:{date}")


def test_long_questions_are_cut_and_say_so() -> None:
    many = parse_query(" ".join(f"w{n}" for n in range(QUERY_TERMS + 5)))
    assert (len(many.words), many.cut) == (QUERY_TERMS, 5)
    long = parse_query("x " * QUESTION_CHARS)
    assert (long.words, long.repeats, long.cut) == (("x",), (QUESTION_CHARS // 2,), QUESTION_CHARS)
    assert parse_query("word").cut == 0


def test_the_terms_of_a_prefix_are_what_the_index_has() -> None:
    """A prefix is folded as words are; otherwise it begins no term."""
    for text, expected in {"Gard*": "gard", "Straß*": "strass", "Éclai*": "eclai", "東京*": "東京"}.items():
        assert parse_query(text).prefixes == (expected,)
        assert terms(text)[0].startswith(expected)
