"""Write a plain vault where the shared corpus writer is absent: corpus.py DIR N [options, of which few count].

The shape is the shared one's (folders of 100, about 2.2 KB a note, words by a Zipf law); the words are others, so
figures are comparable and not equal.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path


def main(args: list[str]) -> None:
    root, notes, options = Path(args[0]), int(args[1]), args[2:]
    rng = random.Random(19)
    letters = "bcdfghjklmnprstvz"
    vocabulary = list(
        {"".join(rng.choice(letters) + rng.choice("aeiou") for _ in range(rng.randint(1, 4))) for _ in range(30_000)}
    )
    vocabulary.sort(key=lambda w: (len(w), w))
    bag = rng.choices(vocabulary, [1 / (i + 5) for i in range(len(vocabulary))], k=400_000)

    def take(count: int) -> str:
        at = rng.randrange(len(bag) - count)
        return " ".join(bag[at : at + count])

    for i in range(notes):
        folder = root if "--flat" in options else root / f"topic-{i // 100:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        repeats = max(1, int(rng.lognormvariate(1.2, 1.6))) if "lognormal" in options else 3
        title = f"Note {i:06d} {vocabulary[i % 997]}"
        parts = ["---", f"title: {title}", "type: note", f"tags: [{vocabulary[i % 53]}]", "---", "", f"# {title}", ""]
        for _ in range(min(repeats, 9000)):
            parts += [f"{take(35).capitalize()}. See [[Note {rng.randrange(notes):06d}]].", ""]
        parts += ["## Observations", *(f"- [fact] {take(9)} #{vocabulary[rng.randrange(97)]}" for _ in range(6))]
        parts += ["", "## Relations", *(f"- relates_to [[Note {rng.randrange(notes):06d}]]" for _ in range(3)), ""]
        (folder / f"note-{i:06d}.md").write_text("\n".join(parts), encoding="utf-8")
    if "--binaries" in options:
        count, megabytes = (int(x) for x in options[options.index("--binaries") + 1 :][:2])
        (root / "assets").mkdir(exist_ok=True)
        for i in range(count):
            (root / "assets" / f"paper-{i:02d}.pdf").write_bytes(rng.randbytes(megabytes * 2**20 // count))


if __name__ == "__main__":
    main(sys.argv[1:])
