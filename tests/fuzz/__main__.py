"""Fuzz for longer: python -m tests.fuzz [--seconds S] [TARGET ...].

With atheris (coverage-guided; wheels for some Pythons only) if it can be imported, else with mutations by chance. What
breaks a target is written to tests/fuzz/found/TARGET/ and ends the run of that target; exits with 1 then.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import time
import traceback
from pathlib import Path

from tests.fuzz.mutate import mutated

FOUND = Path(__file__).parent / "found"
NAMES = ("header", "note", "query", "path", "manifest", "archive", "pages")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *NAMES], help="all, if none is named")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--guided", metavar="TARGET", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.guided:
        _guided(options.guided, options.seconds)
        return
    try:
        import atheris  # noqa: F401  # type: ignore[import-not-found]

        how = "atheris"
    except ImportError:
        how = "mutations by chance (no atheris for this Python)"
    failed = []
    for name in options.targets or NAMES:
        print(f"{name}: {options.seconds:g} s with {how}", flush=True)
        if how == "atheris":
            # A process each: libFuzzer ends its own.
            command = [sys.executable, "-m", "tests.fuzz", "--guided", name, "--seconds", str(options.seconds)]
            is_whole = subprocess.run(command).returncode == 0
        else:
            is_whole = _by_chance(name, options.seconds)
        failed += [] if is_whole else [name]
    print("broken: " + ", ".join(failed) if failed else "nothing broke")
    sys.exit(bool(failed))


def _by_chance(name: str, seconds: float) -> bool:
    from tests.fuzz.targets import TARGETS

    run, seeds = TARGETS[name]
    start, chance, until, count = seeds(), random.Random(), time.monotonic() + seconds, 0
    while time.monotonic() < until:
        data = mutated(start, chance)
        count += 1
        try:
            run(data)
        except Exception:
            traceback.print_exc()
            print(f"  kept as {_keep(name, data)}")
            return False
    print(f"  {count:,} inputs")
    return True


def _guided(name: str, seconds: float) -> None:
    import atheris  # type: ignore[import-not-found]

    # Only what is ours is instrumented, as it is loaded: all there is would take a minute.
    with atheris.instrument_imports(include=["holdfast"]):
        from tests.fuzz.targets import TARGETS
    run, seeds = TARGETS[name]

    def one(data: bytes) -> None:
        try:
            run(data)
        except Exception:
            print(f"  kept as {_keep(name, data)}")
            raise

    corpus = FOUND.parent / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    limits = [f"-max_total_time={int(seconds)}", "-timeout=10", "-rss_limit_mb=2048", "-max_len=20000"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], one)
    atheris.Fuzz()


def _keep(name: str, data: bytes) -> str:
    folder = FOUND / name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(data).hexdigest()[:16]
    path.write_bytes(data)
    return str(path)


if __name__ == "__main__":
    main()
