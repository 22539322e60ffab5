"""Small trees read with arrays alone give what a walk down each tree gives, whatever their shape."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.engine.forest import LEAVES, SPREAD_OF, Forest, build, load

Tree = dict[str, list[Any]]
# Values that fall on cuts as well as beside them, and one that no float32 holds exactly.
VALUES = [-1.0, -0.25, 0.0, 0.1, 0.5, 0.5, 1.0, 3.0]
NAMES = ["a", "b", "c"]


def random_tree(rng: random.Random, leaves: int) -> Tree:
    """A tree with so many leaves, split at random; a child below 0 is leaf -child - 1, in no order."""
    out: Tree = {"feature": [], "cut": [], "left": [], "right": [], "leaf": [rng.uniform(-1, 1) for _ in range(leaves)]}
    numbers = rng.sample(range(leaves), leaves)

    def grow(count: int) -> int:
        if count == 1:
            return -numbers.pop() - 1
        node = len(out["feature"])
        out["feature"].append(rng.randrange(len(NAMES)))
        out["cut"].append(rng.choice(VALUES))
        out["left"].append(0)
        out["right"].append(0)
        mine = rng.randrange(1, count)
        out["left"][node] = grow(mine)
        out["right"][node] = grow(count - mine)
        return node

    grow(leaves)
    return out


def walk(tree: Tree, row: Sequence[float]) -> float:
    """What the tree says of one row: left where the value is at most the cut."""
    at = 0 if tree["feature"] else -1
    while at >= 0:
        is_above = np.float32(row[tree["feature"][at]]) > np.float32(tree["cut"][at])
        at = tree["right"][at] if is_above else tree["left"][at]
    return float(tree["leaf"][-at - 1])


def made(trees: list[Tree], linear: Sequence[float] = (0.0, 0.0, 0.0), weight: float = 0.0) -> Forest:
    return build({"signals": NAMES, "trees": trees, "linear": list(linear), "linear_weight": weight})


def columns(rows: Sequence[Sequence[float]]) -> Mapping[str, Any]:
    x = np.array(rows, dtype=np.float32).reshape(len(rows), len(NAMES))
    return {name: x[:, i] for i, name in enumerate(NAMES)}


def standard(values: Sequence[float], best: Sequence[int] | None = None) -> Any:
    x = np.array(values, dtype=np.float32)
    spread = x[list(best)] if best is not None else x
    return (x - x.max()) / (spread.std() + np.float32(1e-6))


rows_ = st.lists(st.lists(st.sampled_from(VALUES), min_size=3, max_size=3), min_size=1, max_size=20)


@given(seed=st.integers(0, 10**6), rows=rows_, sizes=st.lists(st.integers(1, LEAVES), min_size=1, max_size=6))
def test_every_tree_is_walked_right(seed: int, rows: list[list[float]], sizes: list[int]) -> None:
    """Stumps, single leaves, chains and full trees, mixed."""
    rng = random.Random(seed)
    trees = [random_tree(rng, n) for n in sizes]
    x = np.array(rows, dtype=np.float32)
    expected = [sum(walk(t, row) for t in trees) for row in rows]
    assert made(trees)._trees(x).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("leaves", range(1, LEAVES + 1))
def test_each_leaf_of_a_tree_can_be_reached(leaves: int) -> None:
    """A chain to the right with a cut at each whole number: the value alone says which leaf it is."""
    tree: Tree = {
        "feature": [0] * (leaves - 1), "cut": [float(n) for n in range(leaves - 1)],
        "left": [-n - 1 for n in range(leaves - 1)],
        "right": [n + 1 if n + 2 < leaves else -leaves for n in range(leaves - 1)],
        "leaf": [float(10 * n) for n in range(leaves)],
    }  # fmt: skip
    x = np.array([[n - 0.5, 0, 0] for n in range(leaves)], dtype=np.float32)
    assert made([tree])._trees(x).tolist() == [10.0 * n for n in range(leaves)]
    on_the_cut = np.array([[n, 0, 0] for n in range(leaves - 1)], dtype=np.float32).reshape(-1, 3)
    assert made([tree])._trees(on_the_cut).tolist() == [10.0 * n for n in range(leaves - 1)]


def test_the_judgement_is_trees_and_a_share_of_the_linear_model() -> None:
    rng = random.Random(4)
    trees = [random_tree(rng, n) for n in (1, 2, 5, 8)]
    rows = [[rng.choice(VALUES) for _ in NAMES] for _ in range(30)]
    forest = made(trees, [1.0, -2.0, 0.5], 0.3)
    by_trees = [sum(walk(t, row) for t in trees) for row in rows]
    by_line = [row[0] - 2 * row[1] + 0.5 * row[2] for row in rows]
    got = forest.judge(columns(rows), np.zeros(len(rows), dtype=np.float32))
    assert got.tolist() == pytest.approx((standard(by_trees) + 0.3 * standard(by_line)).tolist(), abs=1e-4)


def test_the_best_say_what_a_step_is_worth() -> None:
    """The spread of the candidates that were chosen first, not of all: a long tail must not flatten the top."""
    rows = [[float(n % 7), 0.0, 0.0] for n in range(SPREAD_OF)] + [[-1_000.0 - n, 0.0, 0.0] for n in range(50)]
    first = np.array([1.0] * SPREAD_OF + [0.0] * 50, dtype=np.float32)
    forest = made([{"feature": [], "cut": [], "left": [], "right": [], "leaf": [0.5]}], [1.0, 0.0, 0.0], 1.0)
    order = np.array(random.Random(1).sample(range(150), 150))
    got = forest.judge(columns([rows[i] for i in order]), first[order])
    expected = standard([r[0] for r in rows], range(SPREAD_OF))[order]
    assert got.tolist() == pytest.approx(expected.tolist(), rel=1e-4)


@given(rows=rows_)
def test_there_is_always_a_number(rows: list[list[float]]) -> None:
    """Candidates that are all alike have no spread; nothing is divided by it."""
    rng = random.Random(len(rows))
    forest = made([random_tree(rng, 3)], [0.1, 0.2, 0.3], 0.5)
    for given_ in (rows, [rows[0]] * len(rows)):
        got = forest.judge(columns(given_), np.arange(len(given_), dtype=np.float32))
        assert got.dtype == np.float32
        assert np.isfinite(got).all()
        assert (got <= 0).all()


@pytest.mark.parametrize("name", ["turns", "turns-pooled", "turns-keyword"])
def test_the_models_of_the_package_are_whole(name: str) -> None:
    forest = load(name)
    assert len(set(forest.signals)) == len(forest.signals) == len(forest.linear)
    assert forest.feature.max() < len(forest.signals)
    assert forest.feature.shape == forest.cut.shape == forest.mask.shape == (len(forest.leaves) * (LEAVES - 1),)
    assert np.isfinite(forest.leaves).all()
    assert np.isfinite(forest.linear).all()
    rng = np.random.default_rng(1)
    given_ = {s: rng.normal(size=40).astype(np.float32) for s in forest.signals}
    got = forest.judge(given_, given_[forest.signals[0]])
    assert np.isfinite(got).all()
    assert len(np.unique(got)) > 10
