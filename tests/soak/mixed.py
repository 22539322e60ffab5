"""Everything at once: a watch, readers, edits, prunes, rebuilds and deaths, for as long as there is time."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fault.vaults import Place, assert_equals_a_rebuild, environment
from tests.fault.watches import Process
from tests.soak.sampler import sampled

NOTES = 500
CHANGE_S = 0.2
READERS = 2
MEMORY_GROWTH_BYTES = 32 << 20
DESCRIPTORS = 96

READER = """
import sys
from holdfast import Config, Vault
asked = 0
with Vault.open(sys.argv[1], state_dir=sys.argv[2], config=Config(background=False, embedder="none")) as vault:
    while sys.stdin.readline():
        question = ("tomatoes", "water garden", "gard* sun", "soil beans", "tomatoes -plan")[asked % 5]
        said = vault.recall(question, sync=asked % 2 == 0)
        asked += 1
        print(len(said.hits), *said.receipt.degraded, sep="|", flush=True)
"""


@dataclass
class Looks:
    """Memory and descriptors of a process as time goes: (seconds, bytes, descriptors)."""

    seen: list[tuple[float, int, int]] = field(default_factory=list)

    def look(self, pid: int, at_s: float) -> None:
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            self.seen.append((at_s, pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{pid}/fd"))))
        except (OSError, IndexError):
            return


def mixed(place: Place, seconds: float, seed: int = 7) -> dict[str, Any]:
    """Returns the figures; raises AssertionError where a promise does not hold."""
    chance = random.Random(seed)
    place.fill(NOTES)
    place.sync()
    readers = [_reader(place) for _ in range(READERS)]
    looks, figures = Looks(), {"edits": 0, "questions": 0, "kills": 0, "prunes": 0, "rebuilds": 0, "empty": 0}
    watch = Process(place, embedder="none", watch_scan_s=10)
    began = time.monotonic()
    try:
        watch.wait_for("watching")
        with sampled(place.directory) as sampler:
            while (at := time.monotonic() - began) < seconds:
                place.change(chance)
                _keep_size(place, chance)
                figures["edits"] += 1
                for reader in readers:
                    figures["questions"] += 1
                    figures["empty"] += _ask(reader).strip() == "0"
                looks.look(watch.pid, at)
                what = chance.random()
                if what < 0.005:
                    figures["kills"] += 1
                    watch.child.kill()
                    watch.child.wait()
                    watch.__exit__()
                    watch = Process(place, embedder="none", watch_scan_s=10)
                    watch.wait_for("watching")
                    looks = Looks()
                elif what < 0.01:
                    figures["prunes"] += 1
                    assert place.cli("prune").returncode == 0
                elif what < 0.013:
                    figures["rebuilds"] += 1
                    assert place.cli("rebuild").returncode == 0
                time.sleep(CHANGE_S * chance.random())
    finally:
        for reader in readers:
            reader.communicate()
        watch.__exit__()
    place.sync()
    assert_equals_a_rebuild(place)
    with place.open() as vault:
        index = vault._ws.index()
        assert index is not None
        bound = 2 * vault._ws.config.index_limit(index.counts().note_bytes, 0)  # twice, while a rebuild goes on
        assert vault.check(deep=True).ok
    assert sampler.peak <= bound
    assert sampler.most_files <= 2 * 16
    assert not figures["empty"], "a question found nothing, and did not say why"
    figures |= {"peak_bytes": sampler.peak, "bound_bytes": bound, "most_files": sampler.most_files}
    return figures | _slope(looks)


def _slope(looks: Looks) -> dict[str, Any]:
    """What the last watch took, from when it was warm to the end."""
    warm = looks.seen[len(looks.seen) // 3 :]
    if len(warm) < 10:
        return {"watch_seconds": 0}
    grown = max(x[1] for x in warm[-5:]) - min(x[1] for x in warm[:5])
    descriptors = [x[2] for x in warm]
    assert grown <= MEMORY_GROWTH_BYTES, f"the watch grew by {grown} bytes"
    assert max(descriptors) <= DESCRIPTORS
    assert max(descriptors[-5:]) <= max(descriptors[:5]) + 2
    return {
        "watch_seconds": round(warm[-1][0] - warm[0][0]), "watch_grown_bytes": grown,
        "watch_bytes": warm[-1][1], "watch_descriptors": max(descriptors),
    }  # fmt: skip


def _keep_size(place: Place, chance: random.Random) -> None:
    """As many notes as at the beginning, about."""
    known = sorted(Path(place.root).rglob("*.md"))
    while len(known) > NOTES:
        known.pop(chance.randrange(len(known))).unlink()
    for n in range(NOTES - len(known)):
        place.put(f"d0/again{n}-{chance.randrange(10**6)}.md", "# Again\n\ntomatoes grow in the water garden\n")


def _reader(place: Place) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", READER, place.root, place.state],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip


def _ask(reader: subprocess.Popen[str]) -> str:
    assert reader.stdin is not None
    assert reader.stdout is not None
    reader.stdin.write("\n")
    reader.stdin.flush()
    said = reader.stdout.readline()
    assert said, f"a reader died with {reader.wait()}"
    return said
