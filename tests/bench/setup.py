"""What the families share: corpora, cached between runs, and state directories, which are not.

The corpora come from the shared benchmark data beside the repository (`../shared`, or HOLDFAST_SHARED), or from a plain
generator of the same shape where that is absent. Vectors that only serve to measure something else are kept as exports.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from holdfast import Vault
from holdfast.embed.local import LocalEmbedder
from tests.bench.measure import Ran, Row, holdfast_command, run

REPOSITORY = Path(__file__).resolve().parents[2]


class Skipped(Exception):
    """Something that a family needs is not here; the message says what."""


@dataclass
class Bench:
    """One run of the suite: where things lie, and how much is asked."""

    quick: bool
    cache: Path
    work: Path
    _states: dict[str, tuple[Path, Ran]] = field(default_factory=dict)
    _serial: int = 0

    def size(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def shared(self, name: str) -> Path:
        """A file or folder of the shared benchmark data."""
        home = Path(os.environ.get("HOLDFAST_SHARED") or REPOSITORY.parent / "shared")
        path = home / "bench" / name
        if not path.exists():
            raise Skipped(f"{path} is not there")
        return path

    def corpus(self, kind: str, notes: int) -> Path:
        """A vault that nobody changes: `notes`, `flat`, `lognormal` or `binaries`."""
        path = self.cache / f"{kind}-{notes}"
        if not path.exists():
            # Written under another name first: what is interrupted is not taken for a corpus.
            making = Path(tempfile.mkdtemp(prefix="making-", dir=self.cache))
            options = {
                "flat": ["--flat"],
                "lognormal": ["--sizes", "lognormal"],
                "binaries": ["--binaries", "31", "80"],
            }
            try:
                writer = self.shared("corpus.py")
            except Skipped:
                writer = Path(__file__).with_name("corpus.py")
            command = [sys.executable, "-B", str(writer), str(making), str(notes), *options.get(kind, [])]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            making.rename(path)
        return path

    def folder(self, name: str) -> Path:
        """A new, empty folder that ends with the run."""
        self._serial += 1
        path = self.work / f"{name}-{self._serial}"
        path.mkdir()
        return path

    def copy(self, vault: Path, inside: str = "") -> Path:
        """A copy of a vault to be changed, in its folder `inside` if given; file times are kept."""
        to = self.folder(vault.name)
        shutil.copytree(vault, to / inside if inside else to, dirs_exist_ok=True)
        return to

    def synced(self, vault: Path) -> tuple[Path, Ran]:
        """A state directory with the index of an unchanged corpus, made by the command, and what that cost."""
        key = str(vault)
        if key not in self._states:
            state = self.folder("state")
            self._states[key] = state, self.sync(vault, state)
        return self._states[key]

    def sync(self, vault: Path, state: Path, **options: str) -> Ran:
        """One `holdfast sync` as a command, without vectors: they have families of their own."""
        return run(self.command("sync", vault, state, "--no-vectors", "--json"), env=options)

    def vectors(self, name: str) -> Path:
        """Where vectors of that name are kept between runs, those of another model elsewhere."""
        digest = LocalEmbedder().identity.rpartition(":")[2]
        return self.cache / f"vectors-{name}-{digest[:12]}.hfv"

    def embed(self, vault: Vault, name: str, *others: str) -> None:
        """Give all chunks of a synced vault their vectors, from the cache where it has them (under `others` too)."""
        kept = self.vectors(name)
        known = [kept] if kept.exists() else [path for path in map(self.vectors, others) if path.exists()]
        if known:
            vault.salvage_vectors(*known)
        done = vault.embed()
        if done.made:
            print(f"{name}: {done.made:,} vectors made in {done.seconds:.0f} s", file=sys.stderr, flush=True)
            vault.export_vectors(kept)

    def command(self, verb: str, vault: Path, state: Path, *more: str) -> list[str]:
        return [*holdfast_command(), verb, *more, "--vault", str(vault), "--state-dir", str(state)]


Family = Callable[[Bench], Iterable[Row]]


def note_files(vault: Path) -> list[Path]:
    return sorted(vault.rglob("*.md"))


def index_directory(state: Path) -> Path:
    """The one index directory below a state directory."""
    (found,) = (p for p in state.iterdir() if p.is_dir())
    return found


def rows(bench: Bench, name: str, family: Family) -> Iterator[Row]:
    """The family's rows; what it lacks becomes a row that says so."""
    try:
        yield from family(bench)
    except Skipped as e:
        yield Row(name, "skipped", "", str(e), "", None)
