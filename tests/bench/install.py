"""How large an installation is: a new virtual environment, `pip install .` and nothing besides."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import Row, run
from tests.bench.setup import REPOSITORY, Bench, Skipped

FAMILY = "install"

MOST_BYTES = 240e6
HEAVY = ("numpy", "onnxruntime", "tokenizers")
# What stands in every virtual environment, asked for or not.
OF_VENV = ("pip", "setuptools")
_VERSION = f"""
import json, sys
from holdfast.cli import main
sys.argv = ["holdfast", "--version"]
main()
print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))
"""


def measure(bench: Bench) -> Iterator[Row]:
    home = bench.folder("install") / "venv"
    venv.create(home, with_pip=True, symlinks=True)
    python = home / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(REPOSITORY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(done.stderr, file=sys.stderr)
        raise Skipped(f"pip install . ended with {done.returncode}: {last[:200]}")
    (site,) = home.glob("lib/python*/site-packages")
    sizes = _sizes(site)
    total, own = sum(sizes.values()), sum(sizes[name] for name in OF_VENV)
    largest = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in sizes.most_common(8))
    yield Row(
        FAMILY,
        "site-packages of `pip install .` in a new virtual environment, .pyc not counted",
        f"<= {MOST_BYTES / 1e6:.0f} MB",
        f"{(total - own) / 1e6:.0f} MB (MB: {largest})",
        f"with what the environment itself brings ({', '.join(OF_VENV)}): {total / 1e6:.0f} MB",
        total <= MOST_BYTES,
        {"bytes": total - own, "with_pip_bytes": total},
    )
    yield _version(python)
    yield _works(bench, home / "bin" / "holdfast")


def _sizes(site: Path) -> Counter[str]:
    """Bytes by package: a folder, what pip recorded of it, and shared libraries beside it."""
    sizes: Counter[str] = Counter()
    for path in site.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.suffix != ".pyc":
            top = path.relative_to(site).parts[0].removesuffix(".py")
            name = top.partition(".")[0] if top.endswith((".libs", ".so")) else top
            if top.endswith(".dist-info"):
                name = top.partition("-")[0]
            sizes[name] += path.stat().st_size
    return sizes


def _version(python: Path) -> Row:
    said = run([str(python), "-c", _VERSION]).out.splitlines()
    imported = json.loads(said[-1])
    return Row(
        FAMILY,
        "modules that `holdfast --version` imports",
        f"none of {', '.join(HEAVY)}",
        f"none of them ({said[0]})" if not imported else f"**{', '.join(imported)}**",
        "",
        not imported,
        {"imported": len(imported)},
    )


def _works(bench: Bench, holdfast: Path) -> Row:
    """The model is in what was installed, and runs."""
    vault = bench.folder("vault")
    (vault / "lease.md").write_text("# Lease\n\nThe contract for the flat ends in October.\n", encoding="utf-8")
    at = ["--vault", str(vault), "--state-dir", str(bench.folder("state")), "--json"]
    synced = run([str(holdfast), "sync", *at]).json()["vectors"]
    asked = run([str(holdfast), "recall", "when must we move out", *at]).json()
    similarity = asked["hits"][0]["similarity"] if asked["hits"] else None
    return Row(
        FAMILY,
        "a paraphrase, asked of a note with what was installed",
        "found by meaning",
        f"{len(asked['hits'])} hit, cosine {similarity}, {synced['ready']} of {synced['total']} vectors",
        "",
        bool(similarity),
        {"similarity": similarity or 0.0},
    )


if __name__ == "__main__":
    from tests.bench.__main__ import main

    main(only=[FAMILY])
