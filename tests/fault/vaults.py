"""Small vaults for the fault tests: made, changed, synced, compared with a rebuild, and used from other processes."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from holdfast import Config, Vault
from holdfast.files.fs import FileSystem
from holdfast.index.sqlite.store import SqliteIndex
from holdfast.results import Answer
from tests.dump import differences, dump

CONFIG = Config(background=False, lock_wait_s=2.0, look_ms=10_000, scan_s=60.0, embedder="none")
QUESTIONS = (
    "tomatoes",
    "water garden",
    "note 7",
    "gard*",
    '"grow in"',
    "tag:home water",
    "since:2020",
    "-water tomatoes",
)
WORDS = "tomatoes water garden grow in sun beans soil seeds rain shed tools home plan".split()


class Place:
    """A vault and where its index goes."""

    def __init__(self, base: Path | str, *, has_id: bool = True) -> None:
        self.base = str(base)
        self.root, self.state = f"{self.base}/notes", f"{self.base}/state"
        os.makedirs(self.root, exist_ok=True)
        if has_id:
            Vault.init(self.root)

    def open(self, fs: FileSystem | None = None, config: Config = CONFIG) -> Vault:
        return Vault.open(self.root, state_dir=self.state, config=config, fs=fs)

    def sync(self, **named: Any) -> Any:
        with self.open() as vault:
            return vault.sync(**named)

    def recall(self, question: str, *, sync: bool = False) -> Answer:
        with self.open() as vault:
            return vault.recall(question, sync=sync)

    def put(self, path: str, body: str | bytes) -> str:
        full = f"{self.root}/{path}"
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as f:
            f.write(body.encode() if isinstance(body, str) else body)
        return full

    def fill(self, count: int, seed: int = 1, *, words: int = 40) -> None:
        rng = random.Random(seed)
        for n in range(count):
            text = " ".join(rng.choices(WORDS, k=words))
            self.put(
                f"d{n % 5}/n{n}.md",
                f"---\ntags: [home]\n---\n# Note {n}\n\n{text}\n\n- [tip] {text[:40]} [[Note {n + 1}]]\n",
            )

    def change(self, rng: random.Random) -> None:
        """A few edits, additions, removals and moves."""
        known = sorted(str(p.relative_to(self.root)) for p in Path(self.root).rglob("*.md"))
        for path in rng.sample(known, k=min(len(known), 6)):
            what = rng.randrange(4)
            if what == 0:
                os.unlink(f"{self.root}/{path}")
            elif what == 1:
                os.rename(f"{self.root}/{path}", f"{self.root}/moved-{rng.randrange(10**6)}.md")
            else:
                self.put(path, f"# Changed {rng.random()}\n\n{' '.join(rng.choices(WORDS, k=30))}\n")
        self.put(f"new/n{rng.randrange(10**6)}.md", f"# New {rng.random()}\n\ntomatoes\n")

    @property
    def directory(self) -> str:
        """Of the index."""
        with self.open() as vault:
            return vault._ws.directory

    @property
    def database(self) -> str:
        directory = self.directory
        return f"{directory}/{max(n for n in os.listdir(directory) if n.endswith('.db'))}"

    def cli(self, *args: str, env: dict[str, str] | None = None, **named: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "holdfast", *args, "--vault", self.root, "--state-dir", self.state],
            env={**environment(), **(env or {})}, capture_output=True, text=True, timeout=120, **named,
        )  # fmt: skip


def environment() -> dict[str, str]:
    return {**os.environ, "HOLDFAST_BACKGROUND": "0"}


def repository() -> str:
    return str(Path(__file__).parents[2])


def index_of(vault: Vault) -> SqliteIndex:
    index = vault._ws.index()
    assert index is not None
    return index


def answers(vault: Vault) -> list[Any]:
    found = [vault.recall(q, sync=False) for q in QUESTIONS]
    return [(a.hits, a.receipt.matched, a.receipt.in_scope) for a in found]


def assert_equals_a_rebuild(place: Place, fs: FileSystem | None = None) -> None:
    """The published index, as it is now, is what a new one from the same notes would be."""
    fresh = tempfile.mkdtemp(prefix="holdfast-fresh-")
    try:
        with place.open(fs) as mine, Vault.open(place.root, state_dir=fresh, config=CONFIG, fs=fs) as other:
            other.sync()
            a, b = dump(index_of(mine)), dump(index_of(other))
            assert a == b, "\n".join(differences(a, b))
            assert answers(mine) == answers(other)
    finally:
        shutil.rmtree(fresh)


def as_somebody_else(script: str, *args: str, limits: tuple[str, ...] = ()) -> str:
    """What `script` prints when run as a user who owns nothing; skips where that cannot be."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("needs root and setpriv: permissions bind nobody who is root, and only root can become another")
    source = Path(sys.modules["holdfast"].__file__ or "").parents[1]
    path = os.pathsep.join([str(source), repository()])
    env = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"], "HOLDFAST_BACKGROUND": "0"}
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *limits, sys.executable, "-c", script, *args],
        env=env, capture_output=True, text=True, timeout=120, cwd="/",
    )  # fmt: skip
    if done.returncode and "started" not in done.stdout:
        pytest.skip(f"another user cannot run this Python here: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
