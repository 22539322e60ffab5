"""Shares of evidence, hand-computed; the rules by which a hit holds a unit; golden lines that are wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.engine.evaluate import Bound, make_plan
from holdfast.engine.golden import Found, Unit, draw, holds, ranks, take
from holdfast.engine.metrics import KS, METRICS, Means, percentile, score
from holdfast.errors import UserError
from holdfast.files.fs import FileSystem

D = [0.0, *(1 / math.log2(i + 1) for i in range(1, 11))]
"""What a unit at each of the first ten ranks adds to a DCG."""


def at(*places: int, length: int = 20, tokens: int = 100) -> list[tuple[bool, int]]:
    """Ranks with units at these places, each hit of so many tokens."""
    return [(i in places, tokens * i) for i in range(1, length + 1)]


def test_two_of_three_units() -> None:
    found = score(at(2, 7), 3)
    assert [found[f"recall@{k}"] for k in KS] == [0, 1 / 3, 1 / 3, 2 / 3, 2 / 3]
    assert [found[f"hit@{k}"] for k in KS] == [0, 1, 1, 1, 1]
    assert [found[f"all@{k}"] for k in KS] == [0, 0, 0, 0, 0]
    assert found["mrr"] == 0.5
    assert found["ndcg@10"] == pytest.approx((D[2] + D[7]) / (D[1] + D[2] + D[3]))
    assert [found[f"recall@{t}t"] for t in (500, 1000, 2000)] == [1 / 3, 2 / 3, 2 / 3]


def test_everything_at_once() -> None:
    found = score(at(1, 2), 2)
    assert {name for name, value in found.items() if value != 1} == {"recall@1", "all@1"}
    assert found["recall@1"] == 0.5


def test_nothing() -> None:
    assert set(score([], 4).values()) == {0.0}
    assert set(score(at(), 1).values()) == {0.0}
    assert tuple(score([], 1)) == METRICS


def test_behind_the_tenth_rank() -> None:
    found = score(at(11), 1)
    assert (found["recall@10"], found["recall@20"], found["ndcg@10"], found["mrr"]) == (0, 1, 0, 1 / 11)
    many = score(at(*range(1, 21)), 20)
    assert many["ndcg@10"] == 1, "no list of ten could hold more"
    assert (many["recall@10"], many["all@20"]) == (0.5, 1)


def test_a_hit_counts_only_if_it_fits_whole() -> None:
    assert score([(True, 500)], 1)["recall@500t"] == 1
    assert score([(True, 501)], 1)["recall@500t"] == 0


def reference(ranked: Sequence[str], relevant: frozenset[str]) -> dict[str, float]:
    """The definitions over lists of names, as a benchmark has them that shares nothing with us."""
    ranked = list(dict.fromkeys(ranked))
    out: dict[str, float] = {}
    for k in KS:
        found = len(relevant.intersection(ranked[:k]))
        out |= {f"recall@{k}": found / len(relevant), f"hit@{k}": float(found > 0)}
        out[f"all@{k}"] = float(found == len(relevant))
    first = next((i for i, d in enumerate(ranked, 1) if d in relevant), None)
    out["mrr"] = 1 / first if first else 0.0
    dcg = sum(1 / math.log2(i + 1) for i, d in enumerate(ranked[:10], 1) if d in relevant)
    out["ndcg@10"] = dcg / sum(1 / math.log2(i + 1) for i in range(1, min(10, len(relevant)) + 1))
    return out


@given(st.lists(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), unique=True), st.frozensets(st.sampled_from("abcxyz!")))
def test_the_metrics_are_those_of_the_definitions(ranked: list[str], relevant: frozenset[str]) -> None:
    relevant = relevant or frozenset("a")
    ours = score(ranks([Found(f, 1, 1, 10) for f in ranked], [Unit(u) for u in sorted(relevant)]), len(relevant))
    assert {k: v for k, v in ours.items() if not k.endswith("t")} == pytest.approx(reference(ranked, relevant))


def test_means() -> None:
    means = Means()
    assert set(means.values().values()) == {0.0}
    for places in ((1,), (3,), ()):
        means.add(score(at(*places), 1))
    assert means.count == 3
    assert means.values()["mrr"] == 0.444444
    assert means.values()["recall@3"] == 0.666667
    assert means.values()["recall@1"] == 0.333333


def test_percentiles() -> None:
    assert [percentile([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.5, 0.75, 0.95)] == [1, 2, 3, 4]
    assert percentile([7.0], 0.5) == percentile([7.0], 0.95) == 7
    assert percentile([float(i) for i in range(1, 101)], 0.95) == 95


@pytest.mark.parametrize(
    ("hit", "unit", "is_held"),
    [
        ((10, 5), (12, 1), True),  # holds it
        ((10, 5), (10, 5), True),
        ((12, 1), (10, 5), True),  # lies within it
        ((10, 4), (12, 4), True),  # half of either
        ((10, 4), (13, 4), False),  # a quarter
        ((10, 3), (12, 2), True),  # half of the shorter
        ((10, 9), (17, 3), True),  # two of three
        ((10, 9), (18, 3), False),  # one of three
        ((10, 5), (15, 1), False),  # beside it
        ((10, 5), (9, 1), False),
    ],
)
def test_which_lines_are_enough(hit: tuple[int, int], unit: tuple[int, int], is_held: bool) -> None:
    assert holds(Found("a.md", *hit, 1), Unit("a.md", *unit)) is is_held
    assert not holds(Found("b.md", *hit, 1), Unit("a.md", *unit))
    assert holds(Found("a.md", *unit, 1), Unit("a.md", *hit)) is is_held, "the rule has no sides"


def test_any_hit_of_a_note_holds_the_note() -> None:
    assert holds(Found("a.md", 7, 1, 1), Unit("a.md"))
    assert not holds(Found("a.md.md", 7, 1, 1), Unit("a.md"))


def test_a_hit_with_many_units_takes_as_many_ranks() -> None:
    units = [Unit("a.md", 3, 1), Unit("a.md", 5, 1), Unit("a.md", 9, 1), Unit("b.md", 1, 1), Unit("c.md", 1, 1)]
    hits = [
        Found("x.md", 1, 9, 100),  # none: one rank
        Found("a.md", 1, 9, 300),  # three: three ranks
        Found("a.md", 5, 1, 50),  # one that is known by now: one rank, nothing new
        Found("b.md", 1, 4, 200),
    ]
    found = ranks(hits, units)
    assert found == [(False, 100), (True, 400), (True, 400), (True, 400), (False, 450), (True, 650)]
    scores = score(found, len(units))
    assert [scores[f"recall@{k}"] for k in (1, 3, 5, 10)] == [0, 2 / 5, 3 / 5, 4 / 5]
    assert (scores["mrr"], scores["all@20"]) == (0.5, 0)
    assert scores["ndcg@10"] == pytest.approx((D[2] + D[3] + D[4] + D[6]) / sum(D[1:6]))
    assert [scores[f"recall@{t}t"] for t in (500, 1000)] == [3 / 5, 4 / 5]


def test_a_note_and_lines_of_it() -> None:
    units = [Unit("a.md"), Unit("a.md", 9, 1)]
    assert ranks([Found("a.md", 1, 2, 1), Found("a.md", 8, 2, 1)], units) == [(True, 1), (True, 2)]
    assert ranks([Found("a.md", 8, 2, 1), Found("a.md", 1, 2, 1)], units) == [(True, 1), (True, 1), (False, 2)]


LINE: dict[str, Any] = {"id": "q1", "query": "who?", "tags": ["t"], "relevant": ["a.md", "b/c: d.md:12:3"]}


def test_a_golden_line() -> None:
    (question,) = take([LINE | {"relevant": [*LINE["relevant"], "a.md"], "more": 1}])
    assert question.units == (Unit("a.md"), Unit("b/c: d.md", 12, 3))
    assert [str(u) for u in question.units] == ["a.md", "b/c: d.md:12:3"]
    assert not question.is_of_notes
    assert (question.id, question.query, question.tags) == ("q1", "who?", ("t",))
    (untagged,) = take([{k: v for k, v in LINE.items() if k != "tags"}])
    assert untagged.tags == ()


@pytest.mark.parametrize(
    "change",
    [
        {"id": 7},
        {"id": " "},
        {"query": None},
        {"query": ""},
        {"tags": "single"},
        {"tags": [1]},
        {"relevant": []},
        {"relevant": "a.md"},
        {"relevant": None},
        {"relevant": [""]},
        {"relevant": ["a.md:12"]},
        {"relevant": ["a.md:0:1"]},
        {"relevant": ["a.md:3:0"]},
    ],
)
def test_a_wrong_line_is_named(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^item 2[ :]") as e:
        take([LINE, LINE | {"id": "q2"} | change])
    assert e.value.hint.startswith(("Write", "Give"))


def test_an_id_twice_and_no_line() -> None:
    with pytest.raises(UserError, match=r"^item 2: the id 'q1' is that of item 1 too\."):
        take([LINE, LINE])
    with pytest.raises(UserError, match="no question"):
        take([])
    with pytest.raises(UserError, match="item 1"):
        take([["q1"]])  # type: ignore[list-item]


def test_bounds() -> None:
    plan = make_plan(FileSystem(), [LINE], ["random", "keyword", "random"], ["recall@10=0.8", "bm25:mrr=1"], 0)
    assert plan.bounds == (Bound(None, "recall@10", 0.8), Bound("bm25", "mrr", 1.0))
    assert plan.modes == ("keyword", "random")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "recall@10",
        "recall@7=0.5",
        "recall@10=80",
        "mrr=nan",
        "mrr=-0.1",
        "mrr=x",
        "mrr=",
        "p95_ms=5",
        "old:mrr=0.5",
    ],
)
def test_a_wrong_bound_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        make_plan(FileSystem(), [LINE], [], [text], 0)


def test_a_wrong_mode_is_refused() -> None:
    with pytest.raises(UserError, match="'semantic'"):
        make_plan(FileSystem(), [LINE], ["semantic"], [], 0)


def test_draws_are_pinned() -> None:
    assert draw(Random("7:q1"), 10, 4) == draw(Random("7:q1"), 10, 4)
    assert draw(Random("7:q1"), 10, 4) != draw(Random("8:q1"), 10, 4)
    assert sorted(draw(Random(1), 6, 99)) == list(range(6))
    assert draw(Random(1), 0, 5) == []
    counts = [0] * 5
    for seed in range(2_000):
        for i in draw(Random(seed), 5, 2):
            counts[i] += 1
    assert all(700 < n < 900 for n in counts), counts
