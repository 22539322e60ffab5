"""Ask a vault golden questions in several modes and say how much of the evidence comes back, and when.

Each mode costs one recall a question; `random` draws from a bounded pool of notes. What is kept are sums, one time a
question and mode, and the questions that found nothing. Questions, modes and bounds are checked before anything is
asked, so that a mistyped gate fails at once, not after minutes, and never passes.
"""

from __future__ import annotations

import math
import os
import re
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal, cast

from holdfast.engine.golden import Found, Question, Unit, all_keys, draw, holds, load, passages, ranks, take, tokens
from holdfast.engine.meaning import ask_embedder
from holdfast.engine.metrics import METRICS, Means, percentile, score
from holdfast.engine.rank import Mode
from holdfast.engine.recall import recall
from holdfast.engine.stopgap import Stopgap, usable_index
from holdfast.engine.workspace import Workspace
from holdfast.errors import NoteError, PathNotAllowed, QueryError, UserError
from holdfast.files.fs import FileSystem
from holdfast.files.paths import safe_path
from holdfast.index.base import Index
from holdfast.model import key_path, show_path, sort_key
from holdfast.results import Answer, Evaluated, Gate, GoldenProblem, Miss, ModeScores, Ready
from holdfast.text.query import parse_query

MODES = ("hybrid", "keyword", "vector", "bm25", "random")
NEED_VECTORS = frozenset({"hybrid", "vector"})

# Hits that are asked for: enough for recall@20 where hits repeat a unit, and for 2,000 tokens of short ones.
K = 50
# No text is to be cut and no hit dropped.
BUDGET = 1 << 40
MISS_METRIC = "hit@10"

# `random` draws from this many notes. Which they are is random too, so the expected shares are those of all notes.
POOL_NOTES = 2_000

Progress = Callable[[int, int], None]
"""Called with (questions asked so far, questions to ask), each mode's counted."""

_BOUND = re.compile(r"^(?:(?P<mode>[a-z0-9]+):)?(?P<metric>[a-z]+(?:@\d+t?)?)=(?P<value>.+)$")


@dataclass(frozen=True, slots=True)
class Bound:
    """A gate as asked for; `mode` is None for the mode that `recall` uses by default."""

    mode: str | None
    metric: str
    least: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask, how, and what must come of it; `modes` is empty for all."""

    questions: Sequence[Question]
    modes: tuple[str, ...]
    bounds: tuple[Bound, ...]
    seed: int


def make_plan(
    fs: FileSystem,
    golden: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    modes: Sequence[str],
    fail_under: Sequence[str],
    seed: int,
) -> Plan:
    """The plan, if all of it makes sense; raises UserError."""
    for mode in modes:
        if mode not in MODES:
            raise UserError(f"There is no mode {mode!r}.", hint=f"Choose of {', '.join(MODES)}.")
    bounds = tuple(map(_bound, fail_under))
    questions = load(fs, os.fspath(golden)) if isinstance(golden, (str, os.PathLike)) else take(golden)
    return Plan(questions, tuple(m for m in MODES if m in modes), bounds, seed)


def _bound(text: str) -> Bound:
    m = _BOUND.match(text)
    if m is None or (m["mode"] or MODES[0]) not in MODES or m["metric"] not in METRICS:
        hint = f"Write metric=share or mode:metric=share, with a metric of {', '.join(METRICS)}."
        raise UserError(f"{text!r} is no bound.", hint=hint)
    try:
        least = float(m["value"])
    except ValueError:
        least = math.nan
    if not 0 <= least <= 1:
        raise UserError(f"The bound {text!r} is no share.", hint="Write a number between 0 and 1, such as 0.8.")
    return Bound(m["mode"], m["metric"], least)


def evaluate(ws: Workspace, stopgap: Stopgap, plan: Plan, progress: Progress | None = None) -> Evaluated:
    """Ask every question of `plan` in every mode that can be measured; does not look for changed notes."""
    remarks: list[str] = []
    index, _ = usable_index(ws, stopgap, remarks)
    _check_queries(ws, index, plan.questions)
    questions, problems = _placed(ws, index, plan.questions)
    ready = _ask(ws, stopgap, questions[0], "keyword").receipt.vectors
    hindered: list[str] = []
    is_asked = ready.ready > 0 and ask_embedder(ws, index, questions[0].query, hindered) is not None
    default = "hybrid" if is_asked else "keyword"
    left_out = _left_out(plan, ready, "" if is_asked else "; ".join(hindered) or "no embedder is chosen")
    chosen = tuple(m for m in plan.modes or MODES if m not in left_out)
    if not chosen:
        raise UserError(f"{' and '.join(left_out)} cannot be measured: {left_out[plan.modes[0]]}.")
    bounds = [replace(b, mode=b.mode or default) for b in plan.bounds]
    _check_bounds(bounds, chosen, left_out)
    if 0 < ready.ready < ready.total:
        remarks.append(f"only {ready.ready:,} of {ready.total:,} passages have a vector; `holdfast sync` goes on")
    runs: dict[str, _Run] = {}
    for n, mode in enumerate(chosen):
        ask = _asker(ws, stopgap, index, mode, plan.seed)
        runs[mode] = _Run()
        for i, question in enumerate(questions, 1):
            runs[mode].add(question, ask)
            if progress is not None:
                progress(n * len(questions) + i, len(chosen) * len(questions))
        if mode in NEED_VECTORS and (without := runs[mode].without_vectors):
            remarks.append(f"{mode}: {without:,} of {len(questions):,} questions were answered without vectors")
    modes = {mode: run.scores() for mode, run in runs.items()}
    return Evaluated(
        questions=len(questions),
        modes=modes,
        default=default,
        tags=dict(sorted(Counter(t for q in questions for t in q.tags).items())),
        left_out=left_out,
        problems=tuple(problems),
        gates=tuple(_gate(b, modes, runs) for b in bounds),
        misses={mode: tuple(run.misses) for mode, run in runs.items() if mode != "random"},
        remarks=tuple(remarks),
    )


def _check_queries(ws: Workspace, index: Index, questions: Iterable[Question]) -> None:
    for question in questions:
        try:
            parse_query(question.query, index.has_field, ws.config.query_terms)
        except QueryError as e:
            raise UserError(f"{question.place}: {e.message}", hint=e.hint) from e


def _left_out(plan: Plan, ready: Ready, hindered: str) -> dict[str, str]:
    why = hindered if ready.ready else "no passage of the vault has a vector"
    return {m: why for m in plan.modes or MODES if m in NEED_VECTORS} if why else {}


def _check_bounds(bounds: Iterable[Bound], chosen: Sequence[str], left_out: Mapping[str, str]) -> None:
    for bound in bounds:
        mode = bound.mode or ""
        if mode in left_out:
            hint = f"Name another mode, such as keyword:{bound.metric}={bound.least:g}."
            raise UserError(f"The bound on {bound.metric} of {mode} cannot be checked: {left_out[mode]}.", hint=hint)
        if mode not in chosen:
            message = f"The bound on {bound.metric} is for the mode {mode}, which is not asked for."
            raise UserError(message, hint=f"Add --mode {mode}, or write {chosen[0]}:{bound.metric}={bound.least:g}.")


def _gate(bound: Bound, modes: Mapping[str, ModeScores], runs: Mapping[str, _Run]) -> Gate:
    """A mode that had to do without its vectors on the way was not measured, and meets no bound."""
    mode = bound.mode or ""
    value = modes[mode].all[bound.metric]
    is_measured = mode not in NEED_VECTORS or not runs[mode].without_vectors
    return Gate(mode, bound.metric, bound.least, value, is_measured and value >= bound.least)


@dataclass(frozen=True, slots=True)
class _Hits:
    """What came back for one question, and the CPU time it took."""

    found: Sequence[Found]
    cpu_ms: float
    is_by_vectors: bool = False


class _Run:
    """One mode's sums."""

    def __init__(self) -> None:
        self._all = Means()
        self._by_tag: dict[str, Means] = {}
        self._cpu_ms = array("d")
        self.misses: list[Miss] = []
        self.without_vectors = 0

    def add(self, question: Question, ask: Callable[[Question], _Hits]) -> None:
        hits = ask(question)
        scores = score(ranks(hits.found, question.units), len(question.units))
        self._all.add(scores)
        for tag in question.tags:
            self._by_tag.setdefault(tag, Means()).add(scores)
        self._cpu_ms.append(hits.cpu_ms)
        self.without_vectors += bool(hits.found) and not hits.is_by_vectors
        if not scores[MISS_METRIC]:
            self.misses.append(Miss(question.id, question.query))

    def scores(self) -> ModeScores:
        times = sorted(self._cpu_ms)
        return ModeScores(
            all=self._all.values(),
            by_tag={tag: means.values() for tag, means in sorted(self._by_tag.items())},
            p50_ms=round(percentile(times, 0.5), 3),
            p95_ms=round(percentile(times, 0.95), 3),
        )


def _ask(ws: Workspace, stopgap: Stopgap, question: Question, mode: Mode) -> Answer:
    by: Literal["note", "passage"] = "note" if question.is_of_notes else "passage"
    return recall(ws, stopgap, question.query, k=K, budget=BUDGET, by=by, look=False, mode=mode)


def _asker(ws: Workspace, stopgap: Stopgap, index: Index, mode: str, seed: int) -> Callable[[Question], _Hits]:
    lottery = _Lottery(ws, index, seed) if mode == "random" else None

    def ask(question: Question) -> _Hits:
        began = time.process_time()
        if lottery is not None:
            return _Hits(lottery.draw(question), (time.process_time() - began) * 1e3)
        answer = _ask(ws, stopgap, question, cast(Mode, mode))
        cpu_ms = (time.process_time() - began) * 1e3
        found = [Found(h.path, h.line, h.count, tokens(h.text or "")) for h in answer.hits]
        return _Hits(found, cpu_ms, any(h.similarity is not None for h in answer.hits))

    return ask


def _placed(ws: Workspace, index: Index, questions: Sequence[Question]) -> tuple[list[Question], list[GoldenProblem]]:
    """The questions with paths as hits have them, and a problem for each unit that no hit can hold."""
    paths: dict[str, str] = {}
    wrong: dict[Unit, str] = {}
    by_path: dict[str, set[Unit]] = {}
    for question in questions:
        for unit in question.units:
            by_path.setdefault(unit.path, set()).add(unit)
    for path, units in by_path.items():
        try:
            clean = safe_path(ws.root, path, ws.fs)
        except PathNotAllowed as e:
            wrong |= dict.fromkeys(units, e.message)
            continue
        paths[path] = show_path(clean)
        wrong |= dict(_unfit(ws, index, clean, units))
    problems = [GoldenProblem(q.place, q.id, str(u), wrong[u]) for q in questions for u in q.units if u in wrong]
    placed = [
        replace(q, units=tuple(dict.fromkeys(replace(u, path=paths.get(u.path, u.path)) for u in q.units)))
        for q in questions
    ]
    return placed, problems


def _unfit(ws: Workspace, index: Index, path: str, units: Iterable[Unit]) -> Iterator[tuple[Unit, str]]:
    """Those of the units of the note at `path` that no hit can hold, and why."""
    if index.note_by_key(sort_key(path)) is None:
        yield from ((unit, "There is no such note in the vault.") for unit in units)
        return
    lines = [unit for unit in units if not unit.is_note]
    if lines:
        try:
            places = list(passages(ws, path))
        except FileNotFoundError:
            places = []
        except NoteError as e:
            ws.count(f"eval_{e.kind}", e)
            places = []
        for unit in lines:
            if not any(holds(p, replace(unit, path=p.path)) for p in places):
                yield unit, "No passage of the note has these lines."


class _Lottery:
    """Hits by chance: the same for the same vault, seed and question."""

    def __init__(self, ws: Workspace, index: Index, seed: int) -> None:
        self._seed = seed
        self._paths: list[str] = []
        self._firsts = array("q")
        self._columns = tuple(array("q") for _ in range(4))  # place in _paths, line, count, tokens
        for key in sorted(_pool(index, Random(f"{seed}"))):  # noqa: S311
            self._read(ws, key_path(key))

    def _read(self, ws: Workspace, path: str) -> None:
        try:
            places = list(passages(ws, path))
        except FileNotFoundError:
            return
        except NoteError as e:
            ws.count(f"eval_{e.kind}", e)
            return
        self._firsts.append(len(self._columns[0]))
        for place in places:
            for column, value in zip(
                self._columns, (len(self._paths), place.line, place.count, place.tokens), strict=True
            ):
                column.append(value)
        self._paths.append(show_path(path))

    def draw(self, question: Question) -> list[Found]:
        """Passages, or the first passages of notes where the question is after notes; none twice."""
        rng = Random(f"{self._seed}:{question.id}")  # noqa: S311
        total = len(self._firsts if question.is_of_notes else self._columns[0])
        drawn = draw(rng, total, K)
        rows = [self._firsts[i] for i in drawn] if question.is_of_notes else drawn
        places, lines, counts, tokens = self._columns
        return [Found(self._paths[places[i]], lines[i], counts[i], tokens[i]) for i in rows]


def _pool(index: Index, rng: Random) -> list[bytes]:
    """The keys of POOL_NOTES notes, or of all, by reservoir sampling."""
    pool: list[bytes] = []
    for n, key in enumerate(all_keys(index)):
        if n < POOL_NOTES:
            pool.append(key)
        elif (at := int(rng.random() * (n + 1))) < POOL_NOTES:
            pool[at] = key
    return pool
