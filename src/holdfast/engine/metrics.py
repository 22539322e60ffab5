"""What share of the evidence a ranked list holds, and means of that over questions. Pure.

A list is given as ranks: for each place, whether a relevant unit stands there, and the tokens of all hits up to it. Of
a question with n relevant units, recall@k is the share of the n in the first k ranks, hit@k whether any is there, all@k
whether all are; mrr is 1 / the first rank that holds one; ndcg@10 has gain 1 for each and log2(rank + 1) as discount,
over the best that n units allow; recall@500t is the share whose hits fit, whole, into the first 500 tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

KS = (1, 3, 5, 10, 20)
TOKENS = (500, 1_000, 2_000)
NDCG_K = 10

METRICS = (
    *(f"recall@{k}" for k in KS),
    *(f"hit@{k}" for k in KS),
    *(f"all@{k}" for k in KS),
    "mrr",
    f"ndcg@{NDCG_K}",
    *(f"recall@{t}t" for t in TOKENS),
)

# Digits that are kept of a mean, so that a gate compares what is printed.
DIGITS = 6

Rank = tuple[bool, int]
"""(a relevant unit that no rank before had, tokens of all hits down to this one's)."""


def score(ranks: Sequence[Rank], relevant: int) -> dict[str, float]:
    """Every one of METRICS for one question that has `relevant` units, at least one."""
    at = [i for i, (is_found, _) in enumerate(ranks, 1) if is_found]
    assert len(at) <= relevant
    out: dict[str, float] = {}
    for k in KS:
        found = sum(i <= k for i in at)
        out[f"recall@{k}"] = found / relevant
        out[f"hit@{k}"] = float(found > 0)
        out[f"all@{k}"] = float(found == relevant)
    out["mrr"] = 1 / at[0] if at else 0.0
    ideal = sum(_discount(i) for i in range(1, min(NDCG_K, relevant) + 1))
    out[f"ndcg@{NDCG_K}"] = sum(_discount(i) for i in at if i <= NDCG_K) / ideal
    for tokens in TOKENS:
        out[f"recall@{tokens}t"] = sum(ranks[i - 1][1] <= tokens for i in at) / relevant
    return {name: out[name] for name in METRICS}


def _discount(rank: int) -> float:
    return 1 / math.log2(rank + 1)


class Means:
    """The mean of each metric over the questions given so far; keeps sums only."""

    def __init__(self) -> None:
        self.count = 0
        self._sums = dict.fromkeys(METRICS, 0.0)

    def add(self, scores: dict[str, float]) -> None:
        self.count += 1
        for name, value in scores.items():
            self._sums[name] += value

    def values(self) -> dict[str, float]:
        """The means, rounded; 0 for all where there was no question."""
        return {name: round(total / max(self.count, 1), DIGITS) for name, total in self._sums.items()}


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least `share` of them do not exceed (nearest rank)."""
    return sorted_values[max(math.ceil(share * len(sorted_values)), 1) - 1]
