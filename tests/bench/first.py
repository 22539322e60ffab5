"""The first answer of a new process: first.py INDEX QUESTION [VECTOR] prints what it took, as JSON.

With VECTOR (a file of numpy's) the question is encoded by the packaged model, and that vector is then asked in place of
its own, since the index's vectors mean nothing. Without, it is answered by words.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import json
import sys
import time
from dataclasses import replace


def main(path: str, text: str, vector: str | None = None) -> None:
    import numpy as np

    from holdfast.config import Config
    from holdfast.embed.local import LocalEmbedder
    from holdfast.engine.question import make_question
    from holdfast.engine.rank import rank
    from holdfast.index.sqlite.store import SqliteIndex
    from holdfast.text.query import parse_query

    began, began_cpu = time.perf_counter(), time.process_time()
    index = SqliteIndex(path, 1, "bench")
    asked = replace(LocalEmbedder().ask(text), vector=np.load(vector)) if vector is not None else None
    encoded_cpu = time.process_time()
    question = make_question(parse_query(text, index.has_field), index, asked, Config().min_similarity)
    with index.snapshot():
        hits = rank(index.signals(question.search), question, 10, "passage", index.keys)
    took = {
        "cpu_s": time.process_time() - began_cpu,
        "wall_s": time.perf_counter() - began,
        "encoding_cpu_s": encoded_cpu - began_cpu,
        "hits": len(hits),
    }
    print(json.dumps(took))


if __name__ == "__main__":
    main(*sys.argv[1:])
