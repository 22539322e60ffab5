"""What the embed job costs beside the bare model, and the memory of a sync with vectors as notes become more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from holdfast import Config, Vault
from holdfast.embed.local import PACKAGED, THREADS, LocalEmbedder, batches
from holdfast.embed.network import Network
from holdfast.embed.words import padded, tokenise
from holdfast.engine.record import read_note
from tests.bench.measure import Row, mebibytes, median, run, take_turns
from tests.bench.setup import Bench, note_files

FAMILY = "embedding"

RATIO = 0.85
PEAK_BYTES = 350e6
GROWN_BYTES = 32e6


def measure(bench: Bench) -> Iterator[Row]:
    yield from _throughput(bench)
    yield from _peaks(bench)


def _throughput(bench: Bench) -> Iterator[Row]:
    """The whole job (notes read again, cut, tokenised, encoded, checked, stored) and the bare model, turn by turn."""
    source = bench.corpus("notes", bench.size(375, 60))
    texts = [
        x.text
        for path in note_files(source)
        for x in read_note(path.read_bytes(), str(path.relative_to(source)), Config().chunk_tokens).inputs
    ]
    network = Network(PACKAGED, LocalEmbedder().threads)
    wall: dict[str, list[float]] = {"ours": [], "bare": []}
    made: list[int] = []
    calls = {
        "ours": partial(_clocked, wall["ours"], partial(_embed, bench, source, made)),
        "bare": partial(_clocked, wall["bare"], partial(_bare, network, texts)),
    }
    _run(network, texts[:50])
    cpu = take_turns(calls, bench.size(3, 1))
    whole = all(n == len(set(texts)) for n in made)
    for kind, took in (("CPU", cpu), ("wall", wall)):
        ours, bare = median(took["ours"]), median(took["bare"])
        ratio = median([b / o for o, b in zip(took["ours"], took["bare"], strict=True)])
        yield Row(
            FAMILY,
            f"embed job, {len(texts):,} chunks of {bench.size(375, 60)} notes, {kind} time",
            f">= {RATIO} x the throughput of the bare model",
            f"ratio {ratio:.2f}; {len(texts) / ours:.0f} chunks a second"
            + ("" if whole else f" (NOT ALL: made {made})"),
            f"bare onnxruntime loop (same session, threads and tokeniser; all texts sorted by length, same batches, "
            f"vectors thrown away): {len(texts) / bare:.0f} a second",
            ratio >= RATIO and whole,
            {"ratio": ratio, "chunks_a_s": len(texts) / ours, "bare_a_s": len(texts) / bare},
        )


def _clocked(wall: list[float], call: Callable[[], tuple[float, float]]) -> float:
    """CPU seconds of what `call` says it took; its wall seconds go into `wall`."""
    cpu_s, wall_s = call()
    wall.append(wall_s)
    return cpu_s


def _embed(bench: Bench, source: Path, made: list[int]) -> tuple[float, float]:
    with Vault.open(source, state_dir=bench.folder("state"), config=Config(background=False)) as vault:
        vault.sync(vectors=False)
        embedder = vault._ws.embedder()
        assert embedder is not None
        embedder.ask("so that the model is loaded, as the bare one is")
        cpu, wall = time.process_time(), time.perf_counter()
        done = vault.embed()
        took = time.process_time() - cpu, time.perf_counter() - wall
        made.append(done.made)
    return took


def _bare(network: Network, texts: Sequence[str]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    _run(network, texts)
    return time.process_time() - cpu, time.perf_counter() - wall


def _run(network: Network, texts: Sequence[str]) -> None:
    tokens = [tokenise(network.tokenizer, text, 0, len(text)) for text in texts]
    for batch in batches(tokens):
        ids, mask, own = padded([tokens[n] for n in batch], network.pad)
        feed: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "own": own}
        known = {i.name for i in network.session.get_inputs()}
        network.session.run(["vector"], {name: value for name, value in feed.items() if name in known})


def _peaks(bench: Bench) -> Iterator[Row]:
    sizes = (30, 120) if bench.quick else (300, 3_000)
    peaks = {}
    for notes in sizes:
        source = bench.corpus("notes", notes)
        words = bench.synced(source)[1].peak_bytes
        ran = run(bench.command("sync", source, bench.folder("state"), "--json"))
        said = ran.json()
        peaks[notes] = ran.peak_bytes
        ready, chunks = said["vectors"]["ready"], said["chunks"]
        yield Row(
            FAMILY,
            f"sync of {notes:,} notes with vectors ({chunks:,} chunks)",
            f"peak resident <= {PEAK_BYTES / 1e6:.0f} MB",
            f"{mebibytes(ran.peak_bytes)} peak, {ready:,} vectors, {1000 * ran.cpu_s / notes:.0f} ms CPU a note, "
            f"{ran.wall_s:.0f} s",
            f"without vectors: {mebibytes(words)}",
            ran.peak_bytes <= PEAK_BYTES and ready == chunks,
            {"peak_mib": ran.peak_bytes / 2**20, "cpu_ms_a_note": 1000 * ran.cpu_s / notes, "wall_s": ran.wall_s},
        )
    grown = peaks[sizes[1]] - peaks[sizes[0]]
    yield Row(
        FAMILY,
        f"peak resident of the first sync with vectors, {sizes[0]:,} to {sizes[1]:,} notes",
        f"flat: + {GROWN_BYTES / 1e6:.0f} MB at most",
        f"{grown / 1e6:+.0f} MB",
        f"{THREADS} threads of the model, {mebibytes(peaks[sizes[0]])} at {sizes[0]:,} notes",
        grown <= GROWN_BYTES,
        {"grown_mb": grown / 1e6},
    )


if __name__ == "__main__":
    from tests.bench.__main__ import main

    main(only=[FAMILY])
