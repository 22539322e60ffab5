"""Chroma directories, sound and sick. chromadb itself makes them, in processes of its own: no handle of it stays open.

Each is built once and copied. A script is a list of steps, such as ["add", "drawers", 0, 500]: entries 0 to 499, whose
id, vector, text and metadata follow from their number, so that what comes out can be compared with what went in.
"""

from __future__ import annotations

import atexit
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
from functools import cache
from pathlib import Path
from typing import Any

Script = list[list[Any]]
DIMENSION = 8

_PRELUDE = """
import json, os, signal, sys
import chromadb
import numpy
from chromadb.config import Settings

def open_client(path):
    return chromadb.PersistentClient(path, Settings(anonymized_telemetry=False))

def vectors(numbers, dimension, salt=0):
    return [numpy.random.default_rng([n, salt]).random(dimension, dtype=numpy.float32) for n in numbers]
"""

_BUILD = (
    _PRELUDE
    + """
def step(client, what, name, *rest):
    if what == "create":
        return client.create_collection(name, embedding_function=None, metadata=rest[0] or None)
    if what == "drop":
        return client.delete_collection(name)
    collection = client.get_collection(name, embedding_function=None)
    if what == "rows":
        d = collection.metadata["dim"] if collection.metadata and "dim" in collection.metadata else 8
        return collection.add(ids=[r[0] for r in rest[0]], embeddings=vectors(range(len(rest[0])), d),
                              documents=None if rest[0][0][1] is None else [r[1] for r in rest[0]],
                              metadatas=None if rest[0][0][2] is None else [r[2] for r in rest[0]])
    start, stop = rest[:2]
    d = collection.metadata["dim"] if collection.metadata and "dim" in collection.metadata else 8
    every = rest[2] if len(rest) > 2 else 1
    for first in range(start, stop, 1000):
        numbers = range(first, min(stop, first + 1000), every)
        ids = [f"i{n}" for n in numbers]
        if what == "delete":
            collection.delete(ids=ids)
        elif what == "add":
            collection.add(ids=ids, embeddings=vectors(numbers, d), documents=[f"text {n}" for n in numbers],
                           metadatas=[{"n": n} for n in numbers])
        elif what == "remark":
            collection.update(ids=ids, metadatas=[{"remark": f"on {n}"} for n in numbers])
        else:
            getattr(collection, what)(ids=ids, embeddings=vectors(numbers, d, 1))

for path, script in json.load(sys.stdin).items():
    client = open_client(path)
    for one in script:
        if one == ["reopen"]:
            client.clear_system_cache()
            client = open_client(path)
        else:
            step(client, *one)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""
)

_ASK = (
    _PRELUDE
    + """
import resource
# A damaged graph has it write terabytes, and ask for as much memory: it dies of that here, sooner.
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 28, 1 << 28))
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)

def tried(act):
    try:
        return act()
    except Exception as e:
        return f"{type(e).__name__}: {e}"

path, name, dimension, more = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
collection = open_client(path).get_collection(name, embedding_function=None)
found = {"count": tried(collection.count)}
print(json.dumps(found), flush=True)
found["texts"] = tried(lambda: len(collection.get()["ids"]))
found["vectors"] = tried(lambda: len(collection.get(include=["embeddings"])["ids"]))
found["search"] = tried(lambda: len(
    collection.query(query_embeddings=vectors([3], dimension), n_results=100000, include=[])["ids"][0]))
def exact():
    got = collection.get(include=["embeddings"])
    numbers = [int(i[1:]) for i in got["ids"]]
    return sum(bool(numpy.allclose(a, b, atol=1e-5)) for a, b in zip(got["embeddings"], vectors(numbers, dimension)))
found["exact"] = tried(exact)
print(json.dumps(found), flush=True)
if more:
    numbers = range(1000000, 1000000 + more)
    ids = [f"i{n}" for n in numbers]
    found["added"] = tried(lambda: collection.add(ids=ids, embeddings=vectors(numbers, dimension)))
    found["found"] = tried(lambda: collection.query(
        query_embeddings=vectors([1000003], dimension), n_results=1, include=[])["ids"][0])
    print(json.dumps(found), flush=True)
"""
)


@cache
def _root() -> Path:
    root = Path(tempfile.mkdtemp(prefix="holdfast-patients-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def _python(program: str, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", program, *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)


def build(scripts: dict[Path, Script], *, killed: bool = False) -> None:
    """Make a directory for each script, all in one process that ends well or is killed at rest."""
    text = json.dumps({str(path): script for path, script in scripts.items()})
    done = _python(_BUILD, "killed" if killed else "", text=text)
    assert done.returncode == (-signal.SIGKILL if killed else 0), done.stderr


def ask(palace: Path, name: str = "drawers", dimension: int = DIMENSION, more: int = 0) -> dict[str, Any]:
    """What chromadb says of a directory that it opens anew; `status` is how its process ended.

    `exact` counts the vectors that are those that went in. With `more` it adds as many entries afterwards.
    """
    done = _python(_ASK, str(palace), name, str(dimension), str(more))
    lines = done.stdout.splitlines()
    return {**(json.loads(lines[-1]) if lines else {}), "status": done.returncode}


FLUSHING = {"hnsw:sync_threshold": 200, "hnsw:batch_size": 50, "hnsw:space": "cosine"}
SMALL = {"hnsw:sync_threshold": 100, "hnsw:batch_size": 20}
FLUSHED, WAITING = 600, 40
SICK_BASE: Script = [["create", "drawers", FLUSHING], ["add", "drawers", 0, FLUSHED], ["add", "drawers", 600, 640]]
OLDER: Script = [["create", "drawers", SMALL], ["add", "drawers", 0, 300]]
NEWER: Script = [["add", "drawers", 300, 600]]

# fmt: off
HEALTHY: dict[str, Script] = {
    "adds below the threshold": [["create", "drawers", {}], ["add", "drawers", 0, 120]],
    "adds over the threshold": [["create", "drawers", SMALL], ["add", "drawers", 0, 370]],
    "just at the threshold": [["create", "drawers", SMALL], ["add", "drawers", 0, 100]],
    "updates of flushed entries": [
        ["create", "drawers", SMALL], ["add", "drawers", 0, 250], ["update", "drawers", 0, 90],
        ["update", "drawers", 0, 30],
    ],
    "deletes, flushed and waiting": [
        ["create", "drawers", SMALL], ["add", "drawers", 0, 300], ["delete", "drawers", 0, 150, 2],
        ["add", "drawers", 300, 330], ["delete", "drawers", 200, 220], ["delete", "drawers", 310, 320],
    ],
    "deleted and added again": [
        ["create", "drawers", SMALL], ["add", "drawers", 0, 200], ["delete", "drawers", 50, 80],
        ["add", "drawers", 50, 80], ["delete", "drawers", 60, 70], ["upsert", "drawers", 60, 65],
    ],
    "upserts of old and new": [
        ["create", "drawers", SMALL], ["add", "drawers", 0, 150], ["upsert", "drawers", 100, 260],
    ],
    "several collections": [
        ["create", "drawers", SMALL], ["create", "closets", SMALL], ["create", "nothing", {}],
        ["add", "drawers", 0, 130], ["add", "closets", 0, 240], ["add", "drawers", 130, 160],
    ],
    "a collection deleted": [
        ["create", "gone", SMALL], ["create", "drawers", SMALL], ["add", "gone", 0, 210], ["add", "drawers", 0, 210],
        ["drop", "gone"], ["add", "drawers", 210, 240],
    ],
    "all deleted, reopened": [
        ["create", "drawers", SMALL], ["add", "drawers", 0, 130], ["delete", "drawers", 0, 130], ["reopen"],
        ["remark", "drawers", 0, 1], ["create", "texts", FLUSHING], ["add", "texts", 0, 450], ["reopen"],
        ["remark", "texts", 0, 60], ["add", "texts", 450, 460],
    ],
}
# fmt: on


@cache
def healthy() -> dict[str, Path]:
    """Twenty sound directories: each shape once closed as it should be, once killed at rest."""
    out: dict[str, Path] = {}
    for killed in (False, True):
        made = {f"{shape}{', killed' * killed}": _root() / f"healthy-{n}-{killed}" for n, shape in enumerate(HEALTHY)}
        build({made[f"{shape}{', killed' * killed}"]: script for shape, script in HEALTHY.items()}, killed=killed)
        out |= made
    return out


@cache
def _base(name: str) -> Path:
    path = _root() / name
    scripts = {"sick": SICK_BASE, "older": OLDER, "newer": OLDER}
    if name == "newer":
        shutil.copytree(_base("older"), path)
        build({path: NEWER})
    else:
        build({path: scripts[name]})
    return path


def copy(source: Path, target: Path) -> Path:
    """A copy with the times of the original."""
    shutil.copytree(source, target, symlinks=True)
    return target


def flushed(target: Path) -> Path:
    """600 flushed entries and 40 that wait, in a cosine space."""
    return copy(_base("sick"), target)


def segment(palace: Path) -> Path:
    """The folder of the only segment with files."""
    (found,) = (p for p in palace.iterdir() if p.is_dir() and len(p.name) == 36)
    return found


def ghosts(target: Path) -> Path:
    """An older database over a newer graph: 300 entries of the graph are no rows."""
    copy(_base("newer"), target)
    shutil.copy2(_base("older") / "chroma.sqlite3", target)
    return target


def gaps(target: Path) -> Path:
    """An older graph under a newer database: 300 rows have no vector, and their queue entries are gone."""
    copy(_base("newer"), target)
    shutil.rmtree(segment(target))
    old = segment(_base("older"))
    shutil.copytree(old, target / old.name)
    return target


TORN_DIMENSION, TORN_FLUSH = 96, 2000
_TORN = {"hnsw:sync_threshold": TORN_FLUSH, "hnsw:batch_size": 100, "dim": TORN_DIMENSION}


@cache
def _whole() -> Path:
    path = _root() / "whole"
    build({path: [["create", "drawers", _TORN], ["add", "drawers", 0, TORN_FLUSH]]})
    return path


@cache
def _killed_after(delay_ms: int) -> Path:
    target = copy(_whole(), _root() / f"torn-{delay_ms}")
    header = segment(target) / "header.bin"
    before = header.stat().st_mtime_ns
    script = {str(target): [["add", "drawers", TORN_FLUSH, 3 * TORN_FLUSH]]}
    command = [sys.executable, "-W", "ignore", "-c", _BUILD, ""]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdin
        process.stdin.write(json.dumps(script))
        process.stdin.close()
        # The flush begins with the header: seen within a fraction of a millisecond.
        end = time.monotonic() + 60
        while header.stat().st_mtime_ns == before and time.monotonic() < end:
            time.sleep(0.0002)
        time.sleep(delay_ms / 1000)
        process.kill()
    return target


def torn(target: Path, delay_ms: int) -> Path:
    """2,000 flushed entries, and kill -9 so long after the next flush of 2,000 began."""
    return copy(_killed_after(delay_ms), target)


class Marker:
    """Unpickled for real, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def hostile(target: Path, marker: Path) -> Path:
    """An id list that makes `marker` when it is unpickled."""
    flushed(target)
    (segment(target) / "index_metadata.pickle").write_bytes(pickle.dumps(Marker(marker)))
    return target


def old_class(target: Path) -> Path:
    """The id list as old versions of chromadb wrote it: an instance of a class of theirs."""
    flushed(target)
    path = segment(target) / "index_metadata.pickle"
    state = pickle.loads(path.read_bytes())
    name = "chromadb.segment.impl.vector.local_persistent_hnsw"
    module = types.ModuleType(name)
    kind = type("PersistentData", (), {"__module__": name})
    module.PersistentData = kind  # type: ignore[attr-defined]
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        instance = kind()
        instance.__dict__ |= state
        path.write_bytes(pickle.dumps(instance, pickle.HIGHEST_PROTOCOL))
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
    return target


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below `directory` with its bytes."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}
