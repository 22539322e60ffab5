"""What questions about links and facts cost, warm and in process: of a note that all link to, and of a whole vault."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from holdfast import Config, Vault
from holdfast.engine.context import context
from holdfast.engine.facts import contradictions, facts
from holdfast.engine.links import backlinks, links_to, mentions, outgoing
from holdfast.engine.problems import problems
from holdfast.engine.timeline import timeline
from holdfast.index.base import Index
from holdfast.model import show_path, sort_key
from tests.bench.measure import Row, median, percentile
from tests.bench.setup import Bench

FAMILY = "graph"

BACKLINKS_MS = 20.0
CONTEXT_MS = 30.0
WORDS = "tomatoes water garden grow sun beans soil seeds rain shed tools home plan letter autumn river".split()


def measure(bench: Bench) -> Iterator[Row]:
    notes = bench.size(10_000, 500)
    vault = bench.folder("linked")
    write(vault, notes)
    state = bench.folder("state")
    bench.sync(vault, state)
    config = Config(background=False, embedder="none")
    with Vault.open(vault, state_dir=state, config=config) as opened:
        ws = opened._ws
        index = ws.index()
        assert index is not None
        yield from _backlinks(opened, index, notes)
        yield from _context(opened, index, notes)
        whole = [
            ("outgoing links of a note", lambda: outgoing(ws, index, "n/05/n5.md")),
            ("unlinked mentions of a note", lambda: mentions(ws, index, "n/07/n7.md")),
            ("facts of a note with 1 of 50 notes that point to it", lambda: facts(ws, index, "n/05/n5.md")),
            ("a page of the timeline of the vault", lambda: timeline(ws, index)),
            ("a page of contradictions of the vault", lambda: contradictions(ws, index)),
            ("all problems with links of the vault", lambda: problems(index)),
        ]
        for what, call in whole:
            took = timed(call, bench.size(9, 3))
            yield row(f"{what}, {notes:,} notes", took, None)


def write(vault: Path, notes: int) -> None:
    """Notes of which each links to one hub and to five others, by name and by path, some as relations with dates."""
    rng = random.Random(5)
    for n in range(notes):
        folder = vault / f"n/{n % 50:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"# Note {n} {rng.choice(WORDS)}", "", " ".join(rng.choices(WORDS, k=60)), ""]
        lines.append(rng.choice(["Grown in [[Hub]].", "- part_of [[Hub]]", "- part_of [[all/Hub]] (so far)"]))
        lines += [f"{rng.choice(WORDS)} [[n{rng.randrange(notes)}]] {rng.choice(WORDS)}" for _ in range(3)]
        other = rng.randrange(notes)
        lines.append(f"See [there](../{other % 50:02d}/n{other}.md) and [[nobody {n % 100}]].")
        year = 2015 + n % 10
        lines.append(f"- knows [[n{rng.randrange(notes)}]] [from:: {year}-{n % 12 + 1:02d}] [to:: {year + 1}]")
        if n % 100 == 0:
            lines += ["- [status] open [from:: 2020]", "- [status] done [from:: 2021-05]"]
        (folder / f"n{n}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (vault / "all").mkdir()
    (vault / "all/Hub.md").write_text("# Hub\n\nEverything is here.\n", encoding="utf-8")


def timed(call: Callable[[], object], times: int) -> list[float]:
    """CPU milliseconds of each call, after one to warm up."""
    call()
    out = []
    for _ in range(times):
        began = time.process_time_ns()
        call()
        out.append((time.process_time_ns() - began) / 1e6)
    return out


def row(what: str, took: list[float], must_ms: float | None, beside: str = "") -> Row:
    p50, p95 = median(took), percentile(took, 0.95)
    return Row(
        FAMILY, what, f"<= {must_ms:.0f} ms CPU" if must_ms else "",
        f"p50 {p50:.1f}, p95 {p95:.1f} ms CPU ({len(took)} times)", beside,
        p50 <= must_ms if must_ms else None, {"p50_ms": p50, "p95_ms": p95},
    )  # fmt: skip


def _backlinks(opened: Vault, index: Index, notes: int) -> Iterator[Row]:
    hub = index.note_by_key(sort_key("all/Hub.md"))
    assert hub is not None

    def found() -> list[object]:
        with index.snapshot():
            return list(links_to(index, hub.id, show_path("all/Hub.md")))

    assert len(found()) == notes
    bare = timed(lambda: index.links_to(["hub"]), 20)
    beside = f"reading the same rows through the port: {median(bare):.1f} ms"
    yield row(f"{notes:,} links to one note, resolved", timed(found, 20), BACKLINKS_MS, beside)
    page = timed(lambda: backlinks(opened._ws, index, "all/Hub.md"), 20)
    yield row(f"a page of 50 of {notes:,} links to one note, with their lines", page, None)


def _context(opened: Vault, index: Index, notes: int) -> Iterator[Row]:
    rng = random.Random(9)
    took: list[float] = []
    for _ in range(30):
        n = rng.randrange(notes)
        took += timed(lambda n=n: context(opened._ws, index, [f"n/{n % 50:02d}/n{n}.md"]), 1)  # type: ignore[misc]
    yield row(f"context of a note, depth 2, {notes:,} notes with a hub", took, CONTEXT_MS)
    hub = timed(lambda: context(opened._ws, index, ["all/Hub.md"]), 10)
    yield row(f"context of the hub, depth 2, {notes:,} links to it", hub, CONTEXT_MS)
    many = timed(lambda: context(opened._ws, index, ["memory://n/07/*"]), 10)
    yield row(f"context of memory://n/07/*, {notes // 50:,} notes meant", many, None)


if __name__ == "__main__":
    from tests.bench.setup import rows

    def main() -> None:
        import tempfile

        with tempfile.TemporaryDirectory() as work:
            for found in rows(Bench(False, Path(work), Path(work)), FAMILY, measure):
                print(found)

    main()
