"""What is shown as a hit's similarity, and what a least similarity asks of it, is its exact cosine.

Above meaning.EXACT_SCOPE the ranking goes by estimates from signs: hits that words alone brought up would show them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast import Config, Vault
from holdfast.index.sqlite import meaning
from holdfast.index.sqlite import vectors as sqlite_vectors
from tests.contract.test_index import WORDS
from tests.fake_embedder import FakeEmbedder, stored_rows, use
from tests.fault.vaults import index_of

QUESTION = "ant owl gnu"
COUNT = 300


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    monkeypatch.setattr(sqlite_vectors, "EXACT_ROWS", 50)
    monkeypatch.setattr(meaning, "EXACT_SCOPE", 50)
    monkeypatch.setattr(meaning, "EXACT_LEAST", 5)
    rng = random.Random(7)
    (tmp_path / "notes").mkdir()
    for n in range(COUNT):
        (tmp_path / f"notes/n{n}.md").write_text(f"# N{n}\n\n{' '.join(rng.choices(WORDS, k=9))} {n}\n")
    config = Config(background=False, budget_tokens=1_000_000)
    with use(Vault.open(tmp_path / "notes", state_dir=tmp_path / "state", config=config), FakeEmbedder(96)) as opened:
        opened.sync()
        yield opened
        held: Any = index_of(opened).vectors._held
        assert not held.vectors.is_exact, "or nothing was tested"


def cosines(vault: Vault) -> dict[str, float]:
    """The exact cosine of each note; a note is one passage."""
    index: Any = index_of(vault)
    embedder: Any = vault._ws.embedder()
    question = embedder.ask(QUESTION).vector
    of = dict(index._db.execute("select note, input from chunk").fetchall())
    have = stored_rows(index, embedder.identity)
    out = {}
    for row in index.list_notes(b"", b"\xff", b"", COUNT):
        code = np.frombuffer(have[of[row.id]].code, np.int8).astype(np.float64)
        out[row.key[1:].decode()] = float(code @ question / np.linalg.norm(code))
    return out


@pytest.mark.parametrize("by", ["passage", "note"])
def test_a_similarity_is_exact_wherever_the_hit_stands(vault: Vault, by: Any) -> None:
    hits = vault.recall(QUESTION, k=150, by=by, sync=False).hits
    want = cosines(vault)
    assert len(hits) == 150
    for hit in hits:
        assert hit.similarity == pytest.approx(want[hit.path], abs=1e-4)
        assert ("vector" in hit.via) == (want[hit.path] >= vault._ws.config.min_similarity), hit.path


@pytest.mark.parametrize("by", ["passage", "note"])
@pytest.mark.parametrize("least", [0.1, 0.3, 0.5])
def test_a_least_similarity_leaves_out_what_is_below_it_and_nothing_else(vault: Vault, by: Any, least: float) -> None:
    want = {path for path, cosine in cosines(vault).items() if cosine >= least}
    hits = vault.recall(QUESTION, k=300, by=by, sync=False, min_similarity=least).hits
    # By words and meaning: what has none of the words and is not among the nearest is no candidate at all.
    asked = set(QUESTION.split())
    read = Path(vault.root)
    may_miss = {p for p in want if not asked & set((read / p).read_text().split())}
    assert {h.path for h in hits} <= want
    assert want - {h.path for h in hits} <= may_miss
    few = vault.recall(QUESTION, k=3, by=by, sync=False, min_similarity=least).hits
    assert [h.path for h in few] == [h.path for h in hits][:3]
