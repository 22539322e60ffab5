"""An answer fits its tokens, keeps its order, and says what was cut."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.engine.budget import fit, tokens
from holdfast.results import Answer, Hit, Ready, Receipt, Scope

texts = st.one_of(
    st.none(),
    st.text(max_size=80),
    st.lists(
        st.sampled_from(["a line of text", "", '"quoted" \\ and\ttabs', "日本語の行", "\x00\x01", "x" * 90]), max_size=9
    ).map("\n".join),
)


def hit(n: int, text: str | None) -> Hit:
    return Hit(
        path=f"notes/{n}.md", line=n, count=3, title="Title", heading="A > B", text=text, stale=text is None, score=1.5,
        via=("keyword",), similarity=None, why={"near": 1.0}, type="note", modified="2024-05-01T00:00:00Z",
        speaker=None, at=None, author=None, session=None, trust="own", digest="b2-" + "0" * 32,
    )  # fmt: skip


def answer(*hit_texts: str | None, question: str = "q", degraded: tuple[str, ...] = ()) -> Answer:
    receipt = Receipt(1, 2, None, 0, Ready(0, 5), Scope(3, 5), 4, degraded)
    return Answer(question, tuple(hit(n, t) for n, t in enumerate(hit_texts)), receipt, 0)


def emitted(a: Answer) -> int:
    """Tokens as the interface counts them: the JSON's UTF-8 bytes, four each, rounded up."""
    raw = json.dumps(a.to_dict(), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return -(-len(raw) // 4)


@given(st.lists(texts, max_size=12), st.integers(0, 3_000), st.text(max_size=30))
def test_it_fits_in_order_and_says_so(bodies: list[str | None], budget: int, question: str) -> None:
    whole = answer(*bodies, question=question, degraded=("before",))
    fitted = fit(whole, budget)
    assert fitted.hits == () or emitted(fitted) <= budget
    assert emitted(fitted) <= fitted.tokens <= emitted(fitted) + 2
    assert fitted.query == whole.query
    assert [h.path for h in fitted.hits] == [h.path for h in whole.hits][: len(fitted.hits)]
    shortened = 0
    for before, after in zip(whole.hits, fitted.hits, strict=False):
        assert replace(after, text=before.text) == before
        if after.text != before.text:
            shortened += 1
            assert before.text is not None
            assert after.text is not None
            assert before.text.startswith(after.text)
    remarks = fitted.receipt.degraded[1:]
    dropped = len(whole.hits) - len(fitted.hits)
    assert bool(remarks) == bool(dropped or shortened)
    if dropped:
        assert f"{dropped} hit{'s' * (dropped != 1)} dropped" in remarks[0]
    if shortened:
        assert f"{shortened} text{'s' * (shortened != 1)} cut" in remarks[0]
    # Nothing is dropped while a text could still be cut.
    if dropped:
        assert all(not h.text or len(h.text.rstrip().split("\n")) == 1 for h in fitted.hits)


@given(st.lists(texts, max_size=12))
def test_what_fits_is_left_alone(bodies: list[str | None]) -> None:
    whole = answer(*bodies)
    fitted = fit(whole, emitted(whole) + 30)
    assert replace(fitted, tokens=0) == whole


def test_the_last_hits_give_first() -> None:
    whole = answer(*["one\ntwo\nthree\nfour and some more words\n" * 8] * 4)
    fitted = fit(whole, emitted(whole) - 20)
    lengths = [len(h.text or "") for h in fitted.hits]
    assert lengths[:3] == [len(whole.hits[0].text or "")] * 3
    assert 0 < lengths[3] < lengths[0]
    assert fitted.receipt.degraded == (f"1 text cut to fit {emitted(whole) - 20} tokens",)


def test_ten_full_chunks_fit_into_the_default() -> None:
    """docs: 4,000 tokens, where ten full chunks fit."""
    chunk = "\n".join(["x" * 99] * 10)
    assert len(chunk) <= 1_000
    fitted = fit(answer(*[chunk] * 10), 4_000)
    assert [h.text for h in fitted.hits] == [chunk] * 10


def test_a_token_is_four_bytes_of_json() -> None:
    cases: list[tuple[Any, int]] = [("", 1), ("ab", 1), ("abc", 2), ("日本", 2), ({"a": 1}, 2), ([], 1)]
    for value, expected in cases:
        assert tokens(value) == expected
