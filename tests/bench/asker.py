"""Ask a vault again and again until stdin ends, then say what came back: asker.py VAULT STATE, as JSON lines.

First it prints a line and waits for one; from then on each of its lines has the monotonic time of the answer, how long
it took, how its first hit was found, and how many chunks there were, and had a vector. The last one has the peak of
resident memory.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import json
import select
import sys
import time

EVERY_S = 0.2
QUESTIONS = (
    "kalo mirentor",
    "which note says tor vas ulpem",
    "sti dro nya",
    "what depends on Note 000123",
    "quel bar ith",
)


def main(root: str, state: str) -> None:
    from holdfast import Config, Vault, errors

    # What would run in the background is another process of the same work; it is done by the one beside us.
    with Vault.open(root, state_dir=state, config=Config(background=False)) as vault:
        _say({"ready": time.monotonic()})
        sys.stdin.readline()
        asked = 0
        while not select.select([sys.stdin], [], [], EVERY_S if asked else 0)[0]:
            began = time.monotonic()
            try:
                answer = vault.recall(QUESTIONS[asked % len(QUESTIONS)], k=10)
            except errors.HoldfastError as e:
                _say({"at": time.monotonic(), "error": f"{type(e).__name__}: {e}"})
            else:
                vectors, hits = answer.receipt.vectors, answer.hits
                at = time.monotonic()
                via = hits[0].via if hits else ()
                similar = sum(h.similarity is not None for h in hits)
                said = {
                    "via": via,
                    "hits": len(hits),
                    "similar": similar,
                    "ready": vectors.ready,
                    "total": vectors.total,
                }
                _say({"at": at, "took_s": at - began, **said})
            asked += 1
    with open("/proc/self/status", encoding="ascii") as file:
        peak = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    _say({"peak_bytes": peak})


def _say(said: dict[str, object]) -> None:
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
