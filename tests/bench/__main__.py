"""Measure what is promised: python -m tests.bench [--quick] [--only NAME] [--cache DIR] [--json FILE] [--markdown].

Prints one table: what, what it must be, what was measured, and what that is compared with. Exits 0 whatever the figures
are: they are numbers, not assertions.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.bench import (
    clinic,
    commands,
    embedding,
    graph,
    hybrid,
    install,
    memory,
    mounts,
    quality,
    recalls,
    sizes,
    small,
    syncs,
    watching,
    writing,
)
from tests.bench.measure import Row
from tests.bench.setup import Bench, Family, rows

FAMILIES: dict[str, Family] = {
    module.FAMILY: module.measure
    for module in (
        commands,
        install,
        syncs,
        watching,
        mounts,
        memory,
        sizes,
        recalls,
        embedding,
        small,
        hybrid,
        quality,
        clinic,
        graph,
        writing,
    )
}
HEAD = ("", "what", "must", "measured", "compared with")
MARKS = {True: "yes", False: "**no**", None: ""}


def main(only: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument(
        "--only", action="append", choices=sorted(FAMILIES), default=list(only), help="this family only"
    )
    parser.add_argument("--cache", type=Path, help="where corpora are kept between runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    parser.add_argument("--markdown", action="store_true", help="print the table alone, at the end")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as work:
        cache = options.cache or Path(tempfile.gettempdir()) / "holdfast-bench-cache"
        cache.mkdir(parents=True, exist_ok=True)
        bench = Bench(options.quick, cache.resolve(), Path(work).resolve())
        found = []
        for name in options.only or FAMILIES:
            began = time.perf_counter()
            for row in rows(bench, name, FAMILIES[name]):
                found.append(row)
                if not options.markdown:
                    print(line(row), flush=True)
            print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    if options.markdown:
        print("\n".join([line(HEAD), line(["---"] * len(HEAD)), *(line(row) for row in found)]))
    if options.json:
        report = {"python": platform.python_version(), "system": platform.platform(), "quick": options.quick}
        options.json.write_text(
            json.dumps({**report, "rows": [asdict(row) for row in found]}, indent=1, default=float) + "\n"
        )
    kept = [row.ok for row in found if row.ok is not None]
    print(f"{sum(kept)} of {len(kept)} promises kept", file=sys.stderr)


def line(row: Row | Sequence[str]) -> str:
    """One line of the table in Markdown."""
    cells = (MARKS[row.ok], row.what, row.must, row.measured, row.compared) if isinstance(row, Row) else row
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
