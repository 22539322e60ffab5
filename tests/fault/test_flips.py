"""Fault 22: of 500 flipped bits a deep check finds each that changes a row or an answer, and a repair mends it.

That a flip was harmless is proven: every row is what a rebuild makes, and every answer the same. Nothing is embedded
twice that could still be read.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast import Config, Vault
from holdfast.index.sqlite.salvage import rows_of
from tests.dump import differences, dump
from tests.fake_embedder import FakeEmbedder, use
from tests.fault.test_check import TALK
from tests.fault.vaults import Place, answers, environment, index_of, repository

FLIPS = 500
PARTS = 4
CONFIG = Config(
    background=False,
    embedder="none",
    look_ms=10_000,
    overlay_first=10,
    overlay_chunks=8,
    note_bytes=20_000,
    audit_notes=0,
)  # fmt: skip


def filled(base: str) -> Place:
    place = Place(base)
    place.fill(8)
    place.put("talk.md", TALK)
    place.put("huge.md", "x" * 30_000)
    return place


def opened(place: Place, fake: FakeEmbedder | None = None) -> Vault:
    return use(place.open(config=CONFIG), fake or FakeEmbedder())


def flip(path: str, good: bytes, seed: int) -> int:
    """Write the database anew with one bit flipped; returns the place of its byte."""
    rng = random.Random(seed)
    data = bytearray(good)
    # Most of a small database is nothing; two of three are where something stands.
    at = rng.randrange(len(data))
    while seed % 3 and not data[at]:
        at = rng.randrange(len(data))
    data[at] ^= 1 << rng.randrange(8)
    for name in (path + "-wal", path + "-shm"):
        if os.path.exists(name):
            os.unlink(name)
    with open(path, "wb") as f:
        f.write(data)
    return at


def whole_inputs(path: str) -> set[bytes]:
    """The inputs whose vectors can still be read, each proven by its checksum."""
    copy = path + "-copy.db"
    shutil.copyfile(path, copy)
    out = {row.input for _, _, row in rows_of(copy)}
    for name in (copy, copy + "-wal", copy + "-shm"):
        if os.path.exists(name):
            os.unlink(name)
    return out


def flip_and_check(base: str, seeds: range) -> None:
    """In a process of its own, so that a crash would be seen."""
    place = filled(base)
    with opened(place) as vault:
        vault.sync()
        truth, said = dump(index_of(vault)), answers(vault)
        directory = vault._ws.directory
        assert not [f for f in vault.check(deep=True, vectors=False).findings if f.kind != "set_aside"]
    good = Path(f"{directory}/gen-000001.db").read_bytes()
    wanted = whole_inputs(f"{directory}/gen-000001.db")
    shutil.copytree(place.state, base + "/good")
    counts = {"harmless": 0, "worth knowing": 0, "damage": 0}
    for seed in seeds:
        print("seed", seed, flush=True)
        shutil.rmtree(directory)
        shutil.copytree(f"{base}/good/{os.path.basename(directory)}", directory)
        at = flip(f"{directory}/gen-000001.db", good, seed)
        left = whole_inputs(f"{directory}/gen-000001.db")
        counts[look_and_mend(place, (seed, at), truth, said, len(wanted - left))] += 1
    print(counts, "all done", flush=True)


def look_and_mend(place: Place, where: Any, truth: Any, said: Any, lost: int) -> str:
    fake = FakeEmbedder()
    with opened(place, fake) as vault:
        found = vault.check(deep=True, vectors=False)
        kinds = {f.kind for f in found.findings} - {"set_aside"}
        if kinds:
            # What is wrong with the notes' own state is mended by the next sync, all else by a repair.
            vault.repair()
            done = vault.sync(checksum=True)
            assert done.vectors.ready == done.chunks, where
            after = vault.check(deep=True, vectors=False)
            assert {f.kind for f in after.findings} == {"set_aside"}, (where, after)
            # Where nobody can say whose the vectors are, all are made again.
            assert fake.encoded.total() <= lost or (lost == 0 and "embedder_changed" in kinds), (where, kinds, lost)
        else:
            assert answers(vault) == said, where
        now = dump(index_of(vault))
        assert now == truth, (where, kinds, differences(now, truth))
    if not kinds:
        return "harmless"
    return "worth knowing" if kinds <= {"behind", "vector_missing", "embedder_changed"} else "damage"


@pytest.mark.parametrize("part", range(PARTS))
def test_every_flip_is_found_or_harmless(tmp_path: Path, part: int) -> None:
    seeds = f"range({part}, {FLIPS}, {PARTS})"
    code = f"from tests.fault.test_flips import flip_and_check; flip_and_check({str(tmp_path)!r}, {seeds})"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=repository(), env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-300:] + done.stderr[-3000:]
    assert done.stdout.endswith("all done\n")
