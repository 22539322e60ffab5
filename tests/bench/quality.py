"""Whether the right passages come first: LoCoMo's development half and Cranfield, beside FTS5 on the same vaults.

The data is read from the shared benchmark folder and written to the cache as vaults; its licences do not allow it here.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import apsw

from holdfast import Vault
from tests.bench.measure import Row
from tests.bench.setup import Bench, note_files

FAMILY = "quality"

Golden = list[dict[str, Any]]

_TURN = re.compile(r"<!-- turn \d+ (?P<speaker>.+?) \S+ -->")


def measure(bench: Bench) -> Iterator[Row]:
    yield from locomo(bench)
    yield cranfield(bench)


def _made(bench: Bench, script: str, data: str) -> Path:
    """The vault and golden questions that a script of the shared folder makes of its data."""
    source, writer = bench.shared(data), bench.shared(script)
    out = bench.folder(writer.stem)
    subprocess.run([sys.executable, "-B", str(writer), str(source), str(out)], check=True, stdout=subprocess.DEVNULL)
    return out


def _golden(path: Path, bench: Bench) -> Golden:
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return found[:: bench.size(1, 10)]


def locomo(bench: Bench) -> Iterator[Row]:
    home = _made(bench, "locomo.py", "locomo-dev.json")
    vault = home / "vault"
    turns = list(_turns(vault))
    by_turn, by_session = _golden(home / "golden-turn.jsonl", bench), _golden(home / "golden-session.jsonl", bench)
    base = _Table((f"{path}:{line}:1", text) for path, line, text in turns)
    sessions: dict[str, list[str]] = {}
    for path, _, text in turns:
        sessions.setdefault(path, []).append(text)
    whole = _Table((path, "\n".join(texts)) for path, texts in sessions.items())
    fts_turn = _mean(_recall(base.ask(q["query"], 10), q["relevant"]) for q in by_turn)
    fts_whole = _mean(_recall(whole.ask(q["query"], 10), q["relevant"]) for q in by_session)
    fts_collapsed = _mean(
        _recall(list(dict.fromkeys(a.partition(":")[0] for a in base.ask(q["query"], 500)))[:10], q["relevant"])
        for q in by_session
    )
    with Vault.open(vault, state_dir=bench.folder("state")) as opened:
        opened.sync()
        ours_turn = _mean(_recall(_covered(opened, q["query"], q["relevant"]), q["relevant"]) for q in by_turn)
        paths = _asker(opened, "note")
        ours_session = _mean(_recall(paths(q["query"]), q["relevant"]) for q in by_session)
    part = f"LoCoMo development half, one index, {len(by_turn)} questions"
    yield Row(
        FAMILY, f"{part}: turn R@10", ">= 66", f"{ours_turn:.1f}",
        f"FTS5 over turns: {fts_turn:.1f}, ratio {ours_turn / fts_turn:.2f}", ours_turn >= 66,
        {"r10": ours_turn, "fts5": fts_turn},
    )  # fmt: skip
    yield Row(
        FAMILY, f"{part}: session R@10 by note", ">= 93", f"{ours_session:.1f}",
        f"FTS5 over whole sessions: {fts_whole:.1f}, turns collapsed: {fts_collapsed:.1f}", ours_session >= 93,
        {"r10": ours_session, "fts5": fts_whole, "fts5_collapsed": fts_collapsed},
    )  # fmt: skip


def cranfield(bench: Bench) -> Row:
    home = _made(bench, "documents.py", "cranfield")
    vault = home / "vault"
    golden = _golden(home / "golden.jsonl", bench)
    base = _Table((p.name, _body(p)) for p in note_files(vault))
    theirs = _mean(_ndcg(base.ask(q["query"], 10), q["relevant"]) for q in golden)
    with Vault.open(vault, state_dir=bench.folder("state")) as opened:
        opened.sync()
        ask = _asker(opened, "note")
        ours = _mean(_ndcg(ask(q["query"]), q["relevant"]) for q in golden)
    return Row(
        FAMILY, f"Cranfield as notes, {len(golden)} questions: nDCG@10 by note", ">= 51", f"{ours:.1f}",
        f"FTS5 over whole notes: {theirs:.1f}, ratio {ours / theirs:.2f}", ours >= 51, {"ndcg10": ours, "fts5": theirs},
    )  # fmt: skip


def _asker(vault: Vault, by: Literal["passage", "note"]) -> Callable[[str], list[str]]:
    return lambda question: [h.path for h in vault.recall(question, k=10, by=by, sync=False).hits]


def _covered(vault: Vault, question: str, relevant: Sequence[str]) -> list[str]:
    """The first ten hits, each as the relevant address whose line it holds, or as its own place."""
    places = [(a, *a.rsplit(":", 2)[:2]) for a in relevant]
    out = []
    for hit in vault.recall(question, k=10, sync=False).hits:
        met = [a for a, path, line in places if path == hit.path and hit.line <= int(line) < hit.line + hit.count]
        out += met or [f"{hit.path}:{hit.line}:{hit.count}"]
    return out


def _turns(vault: Path) -> Iterator[tuple[str, int, str]]:
    """(path, line, `Speaker: text`) of every turn, as the notes have them."""
    for path in note_files(vault):
        lines = path.read_text(encoding="utf-8").split("\n")
        for i, line in enumerate(lines):
            if m := _TURN.fullmatch(line):
                yield str(path.relative_to(vault)), i + 2, f"{m['speaker']}: {lines[i + 1]}"


def _body(path: Path) -> str:
    return path.read_text(encoding="utf-8").split("---\n", 2)[2]


class _Table:
    """FTS5 with porter stems, any word of the question, bm25(): what is there without us."""

    def __init__(self, rows: Iterable[tuple[str, str]]) -> None:
        self._db = apsw.Connection(":memory:")
        self._db.execute("create virtual table d using fts5(id unindexed, body, tokenize='porter unicode61')")
        with self._db:
            self._db.executemany("insert into d values (?,?)", rows)

    def ask(self, question: str, k: int) -> list[str]:
        match = " OR ".join(f'"{w}"' for w in dict.fromkeys(re.findall(r"\w+", question.lower())))
        sql = "select id from d where d match ? order by bm25(d) limit ?"
        return [r[0] for r in self._db.execute(sql, (match, k))] if match else []


def _recall(found: Sequence[str], relevant: Sequence[str]) -> float:
    return len(set(relevant).intersection(found)) / len(relevant)


def _ndcg(found: Sequence[str], relevant: Sequence[str]) -> float:
    gain = sum(1 / math.log2(i + 1) for i, d in enumerate(found[:10], 1) if d in relevant)
    return gain / sum(1 / math.log2(i + 1) for i in range(1, min(10, len(relevant)) + 1))


def _mean(values: Iterable[float]) -> float:
    """The mean as a percentage."""
    all_ = list(values)
    return 100 * sum(all_) / len(all_)


if __name__ == "__main__":
    from tests.bench.__main__ import main

    main(only=[FAMILY])
