"""What a question costs where there are vectors, its encoding included; and whether the scan finds what is nearest.

CPU time of all threads, warm unless it says otherwise. BLAS has one thread (tests/bench/__init__.py), the model two.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from holdfast import Config, Vault
from holdfast.embed.local import LocalEmbedder
from holdfast.index.sqlite.store import SqliteIndex
from holdfast.index.vectors.scan import EXACT_ROWS
from tests.bench import synthetic
from tests.bench.conversations import locomo
from tests.bench.measure import Ran, Row, mebibytes, median, percentile, run, take_turns
from tests.bench.recalls import answer, questions, timed
from tests.bench.setup import REPOSITORY, Bench, Skipped

FAMILY = "hybrid"

K = 10
TARGETS_MS = {10_000: (10, 25), 100_000: (20, 60), 500_000: (50, 150)}
FOUND = 0.95
_FIRST = Path(__file__).with_name("first.py")


def measure(bench: Bench) -> Iterator[Row]:
    yield from _vault(bench)
    yield from _conversations(bench)
    for chunks in (70_000,) if bench.quick else (100_000, 500_000):
        yield from _index(bench, chunks)


def _vault(bench: Bench) -> Iterator[Row]:
    notes = bench.size(2_600, 300)
    source = bench.corpus("notes", notes)
    asked = questions(source, bench.size(200, 50))
    yield _real(bench, source, f"notes-{notes}", f"{notes:,} notes", asked)


def _conversations(bench: Bench) -> Iterator[Row]:
    """The dearest kind: the second look reads the words and token vectors of a hundred turns."""
    try:
        home = locomo(bench)
    except Skipped as e:
        yield Row(FAMILY, "recall of conversations", "", str(e), "", None)
        return
    golden = (home / "golden-turn.jsonl").read_text(encoding="utf-8").splitlines()
    asked = [json.loads(line)["query"] for line in golden][:: bench.size(5, 20)]
    yield _real(bench, home / "vault", "locomo", "conversations", asked)


def _real(bench: Bench, source: Path, name: str, what: str, asked: Sequence[str]) -> Row:
    """The whole of recall in a vault with all its vectors, texts read from the notes."""
    with Vault.open(source, state_dir=bench.folder("state"), config=Config(background=False)) as vault:
        chunks = vault.sync(vectors=False).chunks
        bench.embed(vault, name)
        took = timed(asked, lambda q: vault.recall(q, k=K, sync=False))
        words = timed(asked, lambda q: vault.recall(q, k=K, sync=False, mode="keyword"))
        ready = vault.recall(asked[0], sync=False).receipt.vectors
    encoding = timed(asked, LocalEmbedder().ask)
    what = f"{what}, {chunks:,} chunks" + ("" if ready.ready == ready.total else f" (ONLY {ready.ready:,} VECTORS)")
    return _row(what, took, encoding, words, TARGETS_MS[10_000])


def _row(what: str, took: list[float], encoding: list[float], words: list[float], must: tuple[int, int] | None) -> Row:
    p50, p95 = median(took), percentile(took, 0.95)
    ratio = p50 / median(words)
    return Row(
        FAMILY,
        f"hybrid recall, warm, sync=False, k = {K} by passage, {what}",
        f"p50 <= {must[0]}, p95 <= {must[1]} ms CPU" if must else "",
        f"p50 {p50:.2f}, p95 {p95:.2f} ms CPU (max {max(took):.1f}, {len(took)} questions), of which encoding the "
        f"question p50 {median(encoding):.2f}, p95 {percentile(encoding, 0.95):.2f}",
        f"by words: p50 {median(words):.2f}, p95 {percentile(words, 0.95):.2f} ms, ratio {ratio:.2f}",
        p50 <= must[0] and p95 <= must[1] if must else None,
        {"p50_ms": p50, "p95_ms": p95, "encoding_p50_ms": median(encoding), "ratio": ratio},
    )


def _index(bench: Bench, chunks: int) -> Iterator[Row]:
    """Through the port, vectors by law; see synthetic.py."""
    embedder = LocalEmbedder()
    index = synthetic.opened_with_vectors(bench.cache, chunks, embedder.identity)
    count = index.counts().chunks
    texts = synthetic.questions(chunks, bench.size(150, 40))
    vectors = synthetic.asked_vectors(count, len(texts))
    spoken = _spoken()
    took, encoding, words = [], [], []
    for i, text in enumerate([*texts[:10], *texts]):
        vector = vectors[max(0, i - 10)]
        began = time.process_time_ns()
        asked = replace(embedder.ask(spoken[i % len(spoken)]), vector=vector)
        encoded = time.process_time_ns()
        answer(index, text, K, asked)
        ended = time.process_time_ns()
        answer(index, text, K, mode="keyword")
        for into, spent in (
            (took, ended - began),
            (encoding, encoded - began),
            (words, time.process_time_ns() - ended),
        ):
            into.append(spent / 1e6)
    what = f"{count:,} chunks through the port (texts not read)"
    yield _row(what, took[10:], encoding[10:], words[10:], TARGETS_MS.get(chunks))
    yield _found(index, count, texts, vectors)
    index.close()
    yield from _firsts(bench, chunks, texts[0], vectors[0])


def _spoken() -> list[str]:
    """Questions as people ask them, for their encoding: the words of an index made by law are none."""
    golden = (REPOSITORY / "examples" / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["query"] for line in golden]


def _found(index: SqliteIndex, count: int, texts: Sequence[str], vectors: synthetic.Floats) -> Row:
    best = synthetic.nearest(count, vectors, K)
    embedder = LocalEmbedder().ask("one")
    shares = []
    for text, vector, wanted in zip(texts, vectors, best, strict=True):
        hits = answer(index, text, K, replace(embedder, vector=vector), "vector")[:K]
        rows = index.chunks([(r.note, r.ord) for r in hits])
        shares.append(len({synthetic.number_of(row) for row in rows if row} & set(wanted.tolist())) / K)
    share = sum(shares) / len(shares)
    how = "estimates from signs, the best looked at exactly" if count > EXACT_ROWS else "all looked at exactly"
    return Row(
        FAMILY,
        f"the ten nearest of {count:,} vectors, found by the scan ({how})",
        f">= {100 * FOUND:.0f} % of the exact ten",
        f"{100 * share:.1f} % ({sum(s == 1 for s in shares)} of {len(shares)} questions whole, worst "
        f"{100 * min(shares):.0f} %)",
        "cosines of all vectors as float32, before they were stored in int8",
        share >= FOUND,
        {"share": share},
    )


def _firsts(bench: Bench, chunks: int, text: str, vector: synthetic.Floats) -> Iterator[Row]:
    """The first answer of new processes: by meaning and by words, with the scan copy and without."""
    path = synthetic.index_path(bench.cache, chunks, "vectors")
    at = bench.folder("vector") / "question.npy"
    np.save(at, vector)
    command = [sys.executable, str(_FIRST), str(path), text]
    bare = [sys.executable, str(_FIRST), str(synthetic.index_path(bench.cache, chunks)), text]
    ways = ("with the scan copy", "without it, row by row")
    ran: dict[str, list[Ran]] = {}

    def once(name: str, how: str, command: list[str]) -> float:
        with _aside(path.with_suffix(".vec")) if how.startswith("without") else nullcontext():
            done = run(command)
        ran.setdefault(name, []).append(done)
        return float(done.json()["cpu_s"])

    calls = {"bare": partial(once, "bare", "", bare)}
    for how in ways:
        calls[f"meaning {how}"] = partial(once, f"meaning {how}", how, [*command, str(at)])
        calls[f"words {how}"] = partial(once, f"words {how}", how, command)
    cpu = {name: 1000 * median(took) for name, took in take_turns(calls, bench.size(3, 1)).items()}
    wall = {name: 1000 * median([r.json()["wall_s"] for r in done]) for name, done in ran.items()}
    peak = {name: median([r.peak_bytes for r in done]) for name, done in ran.items()}
    for how in ways:
        name, words = f"meaning {how}", f"words {how}"
        load = 1000 * median([r.json()["encoding_cpu_s"] for r in ran[name]])
        yield Row(
            FAMILY,
            f"first hybrid recall of a new process, about {chunks:,} chunks, {how}",
            "",
            f"{cpu[name]:.0f} ms CPU, {wall[name]:.0f} ms wall after the imports (the model loaded and the question "
            f"encoded: {load:.0f} ms CPU of that), peak resident {mebibytes(peak[name])}",
            f"by words: {cpu[words]:.0f} ms CPU, {mebibytes(peak[words])}; by words of an index without vectors: "
            f"{cpu['bare']:.0f} ms CPU, {mebibytes(peak['bare'])}",
            None,
            {"cpu_ms": cpu[name], "wall_ms": wall[name], "peak_mib": peak[name] / 2**20, "words_cpu_ms": cpu[words]},
        )


@contextmanager
def _aside(path: Path) -> Iterator[None]:
    to = path.with_suffix(".aside")
    path.rename(to)
    try:
        yield
    finally:
        to.rename(path)


if __name__ == "__main__":
    from tests.bench.__main__ import main

    main(only=[FAMILY])
