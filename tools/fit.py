"""Fit the second look (engine/turns.py) on a vault of conversations and golden questions; `make fit` runs it.

    python tools/fit.py --vault DIR --golden golden-turn.jsonl [--cv] [--write] [--kind turns ...]

Signals are taken from the engine itself, question by question. `--cv` first prints figures in which each conversation
(a folder of the vault) is judged by a model that was fitted on the others. `--write` puts the models fitted on all of
them into src/holdfast/engine/weights. LightGBM is needed to fit, never to search.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from holdfast.engine import embed, forest, rank, turns
from holdfast.engine.meaning import ask_embedder
from holdfast.engine.question import make_question
from holdfast.model import key_path, show_path
from holdfast.text.query import parse_query
from holdfast.vault import Vault

WEIGHTS = Path(__file__).parents[1] / "src/holdfast/engine/weights"
KINDS = ["turns", "turns-pooled", "turns-keyword"]
"""With token vectors, with one vector a turn, without a model."""

BEST = 100
TREES = {
    "objective": "lambdarank", "lambdarank_truncation_level": 15, "learning_rate": 0.06, "num_leaves": forest.LEAVES,
    "min_data_in_leaf": 60, "lambda_l2": 10, "feature_fraction": 0.4, "bagging_fraction": 0.8, "bagging_freq": 1,
    "verbosity": -1, "max_bin": 63, "deterministic": True, "force_row_wise": True, "num_threads": 2,
}  # fmt: skip
ROUNDS, SEEDS, LINEAR, RIDGE = 120, (0, 1), 0.3, 1.0


@dataclass
class Case:
    """One question: `x` (pool, signals), `good` whether a candidate is evidence, `owner` the place of its note in
    `ids`, `note_score` and `present`, `first` its score; `units` how many there are to find, `notes` the notes that
    hold them."""

    group: str
    x: np.ndarray
    good: np.ndarray
    owner: np.ndarray
    ids: np.ndarray
    note_score: np.ndarray
    present: np.ndarray
    first: np.ndarray
    units: int
    notes: frozenset[int]


def cases(vault: Vault, golden: Path, mode: str, names: list[str]) -> Iterator[Case]:
    ws = vault._ws
    index = ws.index()
    assert index is not None
    for line in golden.read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        wanted = {tuple(unit.rsplit(":", 2)[:2]) for unit in item["relevant"]}
        query = parse_query(item["query"], index.has_field, ws.config.query_terms)
        asked = ask_embedder(ws, index, query.plain, []) if mode != "turns-keyword" else None
        if asked is not None and mode == "turns-pooled":
            asked = replace(asked, tokens=None)
        question = make_question(replace(query, phrases=()), index, asked, ws.config.min_similarity)
        with index.snapshot():
            s = index.signals(question.search)
            ranking = rank._Ranking(s, question, rank.RECIPES["hybrid" if asked else "keyword"], index.keys, False)
            pool = ranking._pool(rank.POOL["note"])
            columns = turns.signals_of(s, ranking.parts, ranking.talk, pool, question)
            rows = s.detail(pool).rows
            paths = {n: show_path(key_path(k)) for n, k in index.keys(s.notes.tolist()).items()}
        if not names:
            # With token vectors, the line's own cosine says nothing more.
            names += sorted(n for n in columns if not (n == "dense" and mode == "turns"))
        note = s.notes[s.owner[pool]]
        places = [(paths[n], str(r.line)) for n, r in zip(note.tolist(), rows, strict=True)]
        good = np.array([p in wanted for p in places], dtype=bool)
        by_path = {p: n for n, p in paths.items()}
        yield Case(
            item["relevant"][0].split("/")[0],
            np.stack([columns[n] for n in names], 1).astype(np.float32), good, s.owner[pool],
            s.notes, ranking.per_note["note"], s.present, ranking.talk[pool], len(wanted), frozenset(by_path.get(p, -i)
            for i, p in enumerate({p for p, _ in wanted})),
        )  # fmt: skip


def fit(train: list[Case], names: list[str], options: dict[str, Any]) -> dict[str, Any]:
    usable = [c for c in train if c.good[:BEST].any()]
    x = np.concatenate([c.x[:BEST] for c in usable])
    y = np.concatenate([c.good[:BEST] for c in usable]).astype(int)
    data = lightgbm.Dataset(x, y, group=[len(c.x[:BEST]) for c in usable])
    trees = []
    for seed in SEEDS:
        booster = lightgbm.train({**TREES, "seed": seed, **options}, data, ROUNDS)
        trees += [flatten(t["tree_structure"], 1 / len(SEEDS)) for t in booster.dump_model()["tree_info"]]
    spread = x.std(0) + 1e-6
    diffs, weight = [], []
    for c in usable:
        bad = np.flatnonzero(~c.good)[:60]
        for g in np.flatnonzero(c.good):
            diffs.append((c.x[g] - c.x[bad]) / spread)
            weight.append(np.full(len(bad), 1 / c.good.sum() / len(bad)))
    linear = logistic(np.concatenate(diffs).astype(np.float64), np.concatenate(weight)) / spread
    short = [float(f"{v:.5g}") for v in linear]
    return {"signals": names, "linear": short, "linear_weight": LINEAR, "trees": trees}


def logistic(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """beta with P(evidence ranks above) = sigmoid(x . beta), ridge-penalised, by Newton steps."""
    beta = np.zeros(x.shape[1])
    for _ in range(60):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        gradient = x.T @ (w * (p - 1)) + RIDGE * beta
        curvature = (x * (w * p * (1 - p))[:, None]).T @ x + RIDGE * np.eye(len(beta))
        step = np.linalg.solve(curvature, gradient)
        beta -= step
        if np.abs(step).max() < 1e-6:
            break
    return beta


def flatten(root: dict[str, Any], share: float) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {"feature": [], "cut": [], "left": [], "right": [], "leaf": []}

    def walk(node: dict[str, Any]) -> int:
        if "leaf_value" in node:
            out["leaf"].append(float(f"{share * node['leaf_value']:.5g}"))
            return -len(out["leaf"])
        me = len(out["feature"])
        out["feature"].append(node["split_feature"])
        out["cut"].append(float(f"{node['threshold']:.6g}"))
        out["left"].append(0)
        out["right"].append(0)
        out["left"][me], out["right"][me] = walk(node["left_child"]), walk(node["right_child"])
        return me

    walk(root)
    return out


def measure(c: Case, scores: np.ndarray) -> dict[str, float]:
    order = np.argsort(-scores, kind="stable")
    hits = np.flatnonzero(c.good[order])
    value = rank.talk_value(c.owner, scores.astype(np.float32), c.note_score, c.present)
    best = set(c.ids[np.argsort(-value, kind="stable")[:10]].tolist())
    return {
        "recall@5": (hits < 5).sum() / c.units, "recall@10": (hits < 10).sum() / c.units,
        "mrr": 1 / (hits[0] + 1) if len(hits) else 0.0, "note_recall@10": len(best & c.notes) / len(c.notes),
        "pool": len(hits) / c.units,
    }  # fmt: skip


def report(label: str, scored: list[dict[str, float]]) -> None:
    pick = np.random.default_rng(0).integers(0, len(scored), (500, len(scored)))
    cells = []
    for key in scored[0]:
        v = 100 * np.array([s[key] for s in scored])
        cells.append(f"{key} {v.mean():.1f} +-{v[pick].mean(1).std():.1f}")
    print(f"{label:28s}", " ".join(cells), flush=True)


def judge(model: dict[str, Any], c: Case, names: list[str]) -> np.ndarray:
    return forest.build(model).judge({n: c.x[:, i] for i, n in enumerate(names)}, c.first)


def cross_validate(kind: str, table: list[Case], names: list[str], options: dict[str, Any]) -> None:
    scored, by_group = [], {}
    for held in sorted({c.group for c in table}):
        model = fit([c for c in table if c.group != held], names, options)
        mine = [measure(c, judge(model, c, names)) for c in table if c.group == held]
        by_group[held] = np.mean([m["recall@10"] for m in mine])
        scored += mine
    report(f"{kind} cross-validated", scored)
    print("   recall@10 by conversation:", {k: round(float(100 * v), 1) for k, v in by_group.items()}, flush=True)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--vault", required=True)
    p.add_argument("--golden", type=Path, required=True)
    p.add_argument("--state-dir")
    p.add_argument("--cv", action="store_true")
    p.add_argument("--write", action="store_true")
    p.add_argument("--kind", nargs="+", default=KINDS, choices=KINDS)
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as scratch, Vault.open(a.vault, state_dir=a.state_dir or scratch) as vault:
        vault.sync(vectors=False)
        embed.embed(vault._ws, lambda done, total: print(f"\rembedded {done}/{total}", end="", file=sys.stderr))
        for kind in a.kind:
            names: list[str] = []
            table = list(cases(vault, a.golden, kind, names))
            report(f"{kind} first look", [measure(c, c.first) for c in table])
            if a.cv:
                cross_validate(kind, table, names, {})
            if a.write:
                model = fit(table, names, {})
                (WEIGHTS / f"{kind}.json").write_text(json.dumps(model, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
