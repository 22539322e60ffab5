"""What a watch costs while nothing happens, and how long it takes until another process finds what was written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast import Config, Vault
from tests import tiny_onnx
from tests.bench.measure import Row, percentile
from tests.bench.setup import Bench, note_files

FAMILY = "watch"

MOST_SHARE = 0.5
FRESH_S = 2.0
PATIENCE_S = 30.0


def measure(bench: Bench) -> Iterator[Row]:
    notes = bench.size(10_000, 1_000)
    vault = bench.copy(bench.corpus("notes", notes))
    state = bench.folder("state")
    # The packaged model needs minutes for so many; what is done while nothing happens does not depend on the model.
    tiny = {"HOLDFAST_EMBEDDER": f"onnx:{tiny_onnx.folder(bench.folder('model') / 'tiny')}"}
    bench.sync(vault, state)
    with watched(bench, vault, state, **tiny) as child:
        wait_for(lambda: all_ready(vault, state, tiny), 300)
        time.sleep(2)
        yield idle(child, notes, bench.size(130, 12))
    yield fresh(bench, vault, state, notes)
    yield from by_meaning(bench)


def idle(child: subprocess.Popen[str], notes: int, seconds: int) -> Row:
    cpu, began = cpu_s(child.pid), time.monotonic()
    time.sleep(seconds)
    cpu, took = cpu_s(child.pid) - cpu, time.monotonic() - began
    share = 100 * cpu / took
    return Row(
        FAMILY,
        f"holdfast watch, {notes:,} notes, nothing happens",
        f"<= {MOST_SHARE} % of a core, its scans included",
        f"{share:.2f} % ({1000 * cpu:.0f} ms CPU in {took:.0f} s, {took / 60:.1f} scans)",
        "",
        share <= MOST_SHARE,
        {"share": share, "cpu_s": cpu, "seconds": took},
    )


def fresh(bench: Bench, vault: Path, state: Path, notes: int) -> Row:
    """By words, in this process, which does not look at the notes."""
    files = note_files(vault)
    took = []
    with watched(bench, vault, state, HOLDFAST_EMBEDDER="none"), opened(vault, state) as reader:
        for n in range(bench.size(30, 5)):
            time.sleep(0.37)  # out of step with whatever has a rhythm
            word = f"quincetree{n}x"
            body = files[n * 7].read_text(encoding="utf-8")
            began = time.monotonic()
            files[n * 7].write_text(f"{body}\n\n{word}\n", encoding="utf-8")
            wait_for(lambda word=word: reader.recall(word, sync=False).hits)
            took.append(time.monotonic() - began)
    return _row(f"{len(took)} edits among {notes:,} notes, found by a word in another process", took, FRESH_S)


def by_meaning(bench: Bench) -> Iterator[Row]:
    vault = bench.copy(bench.corpus("notes", bench.size(200, 50)))
    state = bench.folder("state")
    texts = ["The contract for the flat ends in October.", "Elin must never eat hazelnuts.", "The ferry was late."]
    took = []
    with watched(bench, vault, state), opened(vault, state, embedder="local") as reader:
        wait_for(lambda: all_ready(vault, state, {}), 600)
        reader.recall("warm", sync=False)
        for n in range(bench.size(15, 3)):
            time.sleep(0.37)
            began = time.monotonic()
            (vault / f"new{n}.md").write_text(f"# New {n}\n\n{texts[n % 3]} {n}\n", encoding="utf-8")
            question = f"{texts[n % 3]} {n}"
            wait_for(
                lambda n=n, question=question: any(
                    hit.path == f"new{n}.md" and hit.similarity is not None
                    for hit in reader.recall(question, sync=False).hits
                )
            )
            took.append(time.monotonic() - began)
    yield _row(f"{len(took)} new notes, found by their meaning in another process", took, 2 * FRESH_S)


def _row(what: str, took: list[float], most_s: float) -> Row:
    p50, p95 = percentile(took, 0.5), percentile(took, 0.95)
    return Row(
        FAMILY, what, f"<= {most_s:.0f} s", f"p50 {p50:.2f} s, p95 {p95:.2f} s, at most {max(took):.2f} s",
        "from the end of the write", max(took) <= most_s, {"p50_s": p50, "p95_s": p95, "max_s": max(took)},
    )  # fmt: skip


@contextmanager
def watched(bench: Bench, vault: Path, state: Path, **env: str) -> Iterator[subprocess.Popen[str]]:
    """A watch that has told how it watches."""
    command = bench.command("watch", vault, state, "--json")
    if bench.quick:
        env["HOLDFAST_WATCH_SCAN_S"] = "5"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **env}) as child:
        assert child.stdout is not None
        try:
            while json.loads(child.stdout.readline())["event"] != "watching":
                pass
            time.sleep(1)
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            child.communicate()


@contextmanager
def opened(vault: Path, state: Path, embedder: str = "none") -> Iterator[Vault]:
    with Vault.open(vault, state_dir=state, config=Config(embedder=embedder, background=False)) as reader:
        yield reader


def all_ready(vault: Path, state: Path, env: dict[str, str]) -> bool:
    with Vault.open(vault, state_dir=state, environ={**os.environ, **env}) as reader:
        vectors = reader.status().index["vectors"]
    return 0 < vectors["ready"] == vectors["total"]


def wait_for(is_so: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    end = time.monotonic() + patience_s
    while not is_so():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {patience_s} s for nothing")
        time.sleep(0.01)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    from tests.bench.__main__ import main

    main(only=[FAMILY])
