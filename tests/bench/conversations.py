"""Vaults of conversations and documents with golden questions, made of the shared benchmark data; its licences do not
allow it here. And conversations that mean nothing, to hide the others among.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from tests.bench.setup import Bench, note_files

_TURN = re.compile(r"<!-- turn \d+ (?P<speaker>.+?) \S+ -->")
_STARTED = re.compile(r"^started: (.+)$", re.M)

# Nobody of these speaks in the data.
STRANGERS = (
    "Agnes Bertil Cecilie Dagny Eskil Frode Gudrun Halvor Ingrid Jorunn Kjetil Liv Magnhild Njord Oddvar Pernille "
    "Ragnhild Sigurd Torunn Ulrik Vigdis Wenche Yngve Asbjorn"
).split()
ANYONE = "\0"
TURN_WORDS = 60


def locomo(bench: Bench) -> Path:
    """A folder with `vault`, `golden-turn.jsonl` and `golden-session.jsonl` of LoCoMo's development half."""
    return made(bench, "locomo.py", "locomo-dev.json")


def cranfield(bench: Bench) -> Path:
    """A folder with `vault` and `golden.jsonl` of Cranfield."""
    return made(bench, "documents.py", "cranfield")


def made(bench: Bench, script: str, data: str) -> Path:
    """The vault and golden questions that a script of the shared folder makes of its data."""
    source, writer = bench.shared(data), bench.shared(script)
    out = bench.folder(writer.stem)
    subprocess.run([sys.executable, "-B", str(writer), str(source), str(out)], check=True, stdout=subprocess.DEVNULL)
    return out


def turns(vault: Path) -> Iterator[tuple[str, int, str]]:
    """(path, line, `Speaker: text`) of every turn, as the notes have them."""
    for path in note_files(vault):
        lines = path.read_text(encoding="utf-8").split("\n")
        for i, line in enumerate(lines):
            if m := _TURN.fullmatch(line):
                yield str(path.relative_to(vault)), i + 2, f"{m['speaker']}: {lines[i + 1]}"


def add_strangers(vault: Path, times: int, seed: int = 53) -> int:
    """Add `times` as many conversations as there are and return how many notes that is.

    They are as long, of the same weeks and in the same words, but of other speakers and without meaning: a chain of
    word pairs as they occur in the real turns.
    """
    rng = random.Random(seed)
    files = note_files(vault)
    said = list(turns(vault))
    names = {text.partition(": ")[0] for _, _, text in said}
    chain = _Chain((text.partition(": ")[2] for _, _, text in said), names)
    sizes: dict[str, int] = {}
    for path, _, _ in said:
        sizes[path] = sizes.get(path, 0) + 1
    for copy in range(times):
        pairs = {folder: rng.sample(STRANGERS, 2) for folder in sorted({f.parent.name for f in files})}
        for file in files:
            who = pairs[file.parent.name]
            started = _STARTED.search(file.read_text(encoding="utf-8"))
            at = datetime.fromisoformat(started[1]) if started else datetime(2023, 5, 1)
            at += timedelta(days=rng.randint(-20, 20), minutes=rng.randint(0, 600))
            note = _session(who, at.isoformat(timespec="minutes"), sizes[str(file.relative_to(vault))], chain, rng)
            to = vault / f"strangers-{copy}-{file.parent.name}" / file.name
            to.parent.mkdir(exist_ok=True)
            to.write_text(note, encoding="utf-8")
    return times * len(files)


def _session(who: Sequence[str], started: str, count: int, chain: _Chain, rng: random.Random) -> str:
    lines = [
        "---", "type: conversation", f"title: {' and '.join(who)}", f"started: {started}",
        f"participants: [{', '.join(who)}]", "trust: imported", "---", "",
    ]  # fmt: skip
    for n in range(count):
        lines += [f"<!-- turn {n + 1} {who[n % 2]} {started} -->", chain.say(who[(n + 1) % 2], rng), ""]
    return "\n".join(lines)


class _Chain:
    """Which words follow which; a name of a speaker is ANYONE."""

    def __init__(self, texts: Iterator[str], names: set[str]) -> None:
        anyone = re.compile(rf"\b(?:{'|'.join(sorted(names))})\b")
        self._next: dict[str, list[str]] = {}
        for text in texts:
            words = ["", *anyone.sub(ANYONE, text).split(), ""]
            for a, b in pairwise(words):
                self._next.setdefault(a, []).append(b)

    def say(self, to: str, rng: random.Random) -> str:
        out: list[str] = []
        word = rng.choice(self._next[""])
        while word and len(out) < TURN_WORDS:
            out.append(word)
            word = rng.choice(self._next[word])
        return " ".join(out).replace(ANYONE, to)
