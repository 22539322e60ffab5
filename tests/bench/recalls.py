"""What a question costs, warm and in process; and whether its ten best are those of a naive oracle."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import apsw

from holdfast import Config, Vault
from holdfast.embed.base import Asked
from holdfast.engine.question import make_question
from holdfast.engine.rank import Mode, Ranked, rank
from holdfast.engine.recall import SPARE
from holdfast.index.sqlite.store import SqliteIndex
from holdfast.text.query import parse_query
from tests.bench import synthetic
from tests.bench.measure import Row, median, percentile
from tests.bench.oracle import Oracle
from tests.bench.setup import Bench, note_files

FAMILY = "recall"

FREQUENT = 120
TARGETS_MS = {30_000: (5, 15), 100_000: (20, 60), 500_000: (50, 150)}
TIE = 2e-5
"""Scores of the index are single precision; nearer than this is a tie whose order is not decided."""


def measure(bench: Bench) -> Iterator[Row]:
    notes = bench.size(10_000, 1_000)
    yield from _vault(bench, notes, 30_000)
    yield from _exact(bench, notes)
    if bench.quick:
        yield _index(bench, 10_000)
        return
    yield _index(bench, 100_000)
    yield _index(bench, 500_000)
    yield from _vault(bench, 100_000, None)


def questions(vault: Path, count: int, seed: int = 1) -> list[str]:
    """2 to 8 words of a note's line (60 %) and those beside it, by frequency; 5 % ask for a number of few notes."""
    rng = random.Random(seed)
    files = note_files(vault)
    counts = Counter(w for p in rng.sample(files, min(500, len(files))) for w in _words(p.read_text(encoding="utf-8")))
    stop = {w for w, _ in counts.most_common(FREQUENT)}
    out: list[str] = []
    while len(out) < count:
        path = rng.choice(files)
        lines = [found for line in path.read_text(encoding="utf-8").split("\n") if len(found := _words(line)) > 5]
        at = rng.randrange(len(lines))
        near = [x for i in (-2, -1, 1, 2) if 0 <= at + i < len(lines) for x in lines[at + i]]
        drawn = (rng.choice(lines[at] if rng.random() < 0.6 or not near else near) for _ in range(200))
        wanted = rng.randint(2, 8)
        chosen = [w for w in drawn if w not in stop][:wanted]
        if rng.random() < 0.05 and chosen:
            chosen[-1] = re.sub(r"\D", "", path.stem)
        if len(chosen) == wanted:
            out.append(" ".join(chosen))
    return out


def _words(line: str) -> list[str]:
    return re.findall(r"[a-z]+", line.lower())


def timed(questions: Sequence[str], ask: Callable[[str], object]) -> list[float]:
    """CPU milliseconds of each question, after some to warm up."""
    for question in questions[:10]:
        ask(question)
    out = []
    for question in questions:
        began = time.process_time_ns()
        ask(question)
        out.append((time.process_time_ns() - began) / 1e6)
    return out


def _vault(bench: Bench, notes: int, target: int | None) -> Iterator[Row]:
    """The whole of recall, texts read from the notes, beside FTS5 asked for any of the same words of whole notes."""
    vault = bench.corpus("notes", notes)
    state, _ = bench.synced(vault)
    asked = questions(vault, bench.size(200, 150))
    with Vault.open(vault, state_dir=state) as opened:
        chunks = opened.sync(vectors=False).chunks
        took = timed(asked, lambda q: opened.recall(q, k=10, sync=False))
    table = _fts5(vault)
    theirs = timed(asked, lambda q: _fts5_ask(table, q))
    yield _row(
        f"{notes:,} notes, {chunks:,} chunks", took, TARGETS_MS.get(target or 0), f"FTS5, {notes:,} whole notes", theirs
    )


def _index(bench: Bench, chunks: int) -> Row:
    """The same without the notes, which are not there: question, signals, ranking, rows of the hits."""
    index = synthetic.opened(bench.cache, chunks)
    asked = synthetic.questions(chunks, 150)
    took = timed(asked, lambda q: answer(index, q, 10))
    read = timed(asked, parse_query)
    index.close()
    what = f"{chunks:,} chunks through the port (texts not read)"
    return _row(what, took, TARGETS_MS.get(chunks), "parsing the question", read)


def _row(what: str, took: list[float], must: tuple[int, int] | None, beside: str, theirs: list[float]) -> Row:
    p50, p95 = median(took), percentile(took, 0.95)
    ratio = p50 / median(theirs)
    return Row(
        FAMILY,
        f"recall, warm, sync=False, {what}",
        f"p50 <= {must[0]}, p95 <= {must[1]} ms CPU" if must else "",
        f"p50 {p50:.2f}, p95 {p95:.2f} ms CPU (max {max(took):.1f}, {len(took)} questions)",
        f"{beside}: p50 {median(theirs):.2f}, p95 {percentile(theirs, 0.95):.2f} ms, ratio {ratio:.2f}",
        p50 <= must[0] and p95 <= must[1] if must else None,
        {"p50_ms": p50, "p95_ms": p95, "ratio": ratio},
    )


def answer(index: SqliteIndex, text: str, k: int, asked: Asked | None = None, mode: Mode = "hybrid") -> list[Ranked]:
    """What recall asks of an index, in one snapshot, the rows of the hits included; `asked` is what an embedder makes
    of the question, None for words alone."""
    question = make_question(parse_query(text, index.has_field), index, asked, Config().min_similarity)
    with index.snapshot():
        ranked = rank(index.signals(question.search), question, k + SPARE, "passage", index.keys, mode)
        index.chunks([(r.note, r.ord) for r in ranked])
        index.notes({r.note for r in ranked})
        return ranked


def _fts5(vault: Path) -> apsw.Connection:
    table = apsw.Connection(":memory:")
    table.execute("create virtual table d using fts5(path unindexed, body, tokenize='porter unicode61')")
    with table:
        table.executemany(
            "insert into d values (?,?)", ((str(p), p.read_text(encoding="utf-8")) for p in note_files(vault))
        )
    return table


def _fts5_ask(table: apsw.Connection, question: str) -> list[str]:
    match = " OR ".join(f'"{w}"' for w in question.split())
    return [p for (p,) in table.execute("select path from d where d match ? order by bm25(d) limit 10", (match,))]


def _exact(bench: Bench, notes: int) -> Iterator[Row]:
    vault = bench.corpus("notes", notes)
    state, _ = bench.synced(vault)
    oracle = Oracle(vault, note_files(vault))
    asked = questions(vault, 50, seed=2)
    with Vault.open(vault, state_dir=state) as opened:
        for by in ("passage", "note"):
            outcomes: Counter[str] = Counter()
            worst = 0.0
            for question in asked:
                answer = opened.recall(question, k=10, budget=1_000_000, by=by, sync=False)
                want = oracle.rank(question, 11, by)
                got = [(h.score, (h.path, 0 if by == "note" else _chunk(oracle, h.path, h.line))) for h in answer.hits]
                # Shown scores have four places.
                worst = max([worst, *(abs(a[0] - b[0]) for a, b in zip(got, want, strict=False))])
                outcomes[_verdict([p for _, p in got], want)] += 1
            equal = outcomes["same"] + outcomes["ties"]
            yield Row(
                FAMILY,
                f"top 10 by {by} equal to the naive oracle's, {notes:,} notes",
                "all",
                f"{equal} of {len(asked)} ({outcomes['same']} in the same order, {outcomes['ties']} up to ties), "
                f"scores differ by {worst:.1e} at most (shown to 5e-5)",
                "dictionaries, double precision",
                equal == len(asked),
                {"equal": equal, "asked": len(asked), "worst": worst},
            )


def _chunk(oracle: Oracle, path: str, line: int) -> int:
    note = next(n for n in oracle.notes if n.path == path)
    return next((i for i, (first, _) in enumerate(note.lines) if first == line), -1)


def _verdict(got: list[tuple[str, int]], want: list[tuple[float, tuple[str, int]]]) -> str:
    top = want[:10]
    if got == [p for _, p in top]:
        return "same"
    scores = {p: s for s, p in want}
    floor = top[-1][0] if top else 0.0
    if len(got) != len(top):
        return "other"
    # Each place must hold something that scores as the oracle's does; what is not among its eleven ties with the last.
    fits = all(abs(scores.get(p, floor) - s) <= TIE for p, (s, _) in zip(got, top, strict=True))
    return "ties" if fits and len(set(got)) == len(got) else "other"


if __name__ == "__main__":
    from tests.bench.__main__ import main

    main(only=[FAMILY])
