"""Small trees and a linear model, evaluated with arrays alone. Pure; tools/fit.py makes what is read here.

All comparisons of all trees are made at once; each false one rules out the leaves on its left, and the first leaf that
is left is the tree's (QuickScorer, Lucchese and others, SIGIR 2015). Trees have at most 8 leaves: a byte holds a tree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LEAVES = 8
SPREAD_OF = 100
"""The scores of so many best candidates say what a step of either model is worth."""

_FIRST_BIT = np.array([next((b for b in range(8) if v >> b & 1), 7) for v in range(256)], dtype=np.intp)


@dataclass(frozen=True, slots=True)
class Forest:
    """`signals` names the columns. Per tree and node: `feature`, `cut`, `mask` of leaves that stay if value > cut; per
    tree 8 `leaves`. `linear` has a weight for each column, `share` what the linear model counts beside the trees."""

    signals: tuple[str, ...]
    feature: NDArray[np.intp]
    cut: Floats
    mask: NDArray[np.uint8]
    leaves: Floats
    linear: Floats
    share: float

    def judge(self, columns: Mapping[str, Floats], first: Floats) -> Floats:
        """A score for each candidate; `first` are the scores by which they were chosen, which order the best."""
        x = np.stack([np.asarray(columns[name], dtype=np.float32) for name in self.signals], axis=1)
        best = np.argsort(-first, kind="stable")[:SPREAD_OF]
        total = np.zeros(len(x), dtype=np.float32)
        for part, weight in ((self._trees(x), 1.0), (x @ self.linear, self.share)):
            if len(part):
                total += np.float32(weight) * (part - part.max()) / (part[best].std() + np.float32(1e-6))
        return total

    def _trees(self, x: Floats) -> Floats:
        stays = np.where(x[:, self.feature] > self.cut, self.mask, np.uint8(255))
        left = np.bitwise_and.reduce(stays.reshape(len(x), len(self.leaves), LEAVES - 1), axis=2)
        leaf = _FIRST_BIT[left]
        return np.asarray(self.leaves[np.arange(len(self.leaves)), leaf].sum(axis=1), dtype=np.float32)


def load(name: str) -> Forest:
    """The model of that name in the package."""
    return build(json.loads(files("holdfast.engine.weights").joinpath(f"{name}.json").read_text(encoding="utf-8")))


def build(raw: Mapping[str, Any]) -> Forest:
    """The model in the shape that tools/fit.py writes: per tree `feature`, `cut`, `left`, `right`, `leaf`.

    A child below 0 is leaf -child - 1.
    """
    feature, cut, mask, leaves = [], [], [], []
    for tree in raw["trees"]:
        order = _leaf_order(tree)
        nodes = [
            (f, c, _without(tree, i, order)) for i, (f, c) in enumerate(zip(tree["feature"], tree["cut"], strict=True))
        ]
        nodes += [(0, float("inf"), 255)] * (LEAVES - 1 - len(nodes))
        for f, c, m in nodes:
            feature.append(f)
            cut.append(c)
            mask.append(m)
        values = [tree["leaf"][leaf] for leaf in order]
        leaves.append(values + [0.0] * (LEAVES - len(values)))
    return Forest(
        tuple(raw["signals"]), np.array(feature, dtype=np.intp), np.array(cut, dtype=np.float32),
        np.array(mask, dtype=np.uint8), np.array(leaves, dtype=np.float32).reshape(-1, LEAVES),
        np.array(raw["linear"], dtype=np.float32), float(raw["linear_weight"]),
    )  # fmt: skip


def _leaf_order(tree: Mapping[str, Sequence[Any]]) -> list[int]:
    """The tree's leaves from left to right."""

    def walk(child: int) -> list[int]:
        return [-child - 1] if child < 0 else walk(tree["left"][child]) + walk(tree["right"][child])

    return walk(0 if tree["feature"] else -1)


def _without(tree: Mapping[str, Sequence[Any]], node: int, order: list[int]) -> int:
    """A byte with the bits of the leaves on the left of `node` cleared."""

    def under(child: int) -> list[int]:
        return [-child - 1] if child < 0 else under(tree["left"][child]) + under(tree["right"][child])

    return 255 & ~sum(1 << order.index(leaf) for leaf in under(tree["left"][node]))
