"""A Lance dataset as its files tell: what it weighs, what of it is alive, and what became of the rest.

Reads manifests with a reader of our own, so that it works without Lance, under a low limit of descriptors and on a full
disk. Memory is O(files of the dataset), some hundred bytes each; symbolic links are not followed.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from holdfast.clinic.lance.manifest import COMPACTION, Manifest, operation_of, read_manifest, version_of
from holdfast.clinic.lance.proto import DamagedMessageError

VERSIONS = "_versions"
SET_ASIDE = re.compile(r"\.(before-rewrite|rewrite)-\d{8}-\d{6}$")
_HEAD = 512
_NAMES = re.compile(rb"[0-9A-Za-z_\-]+\.lance")
_BUDGET_BYTES = 768 << 20
"""Old manifests that are searched for the names of files, at most: 1 GB of them takes about 5 s."""
_OPERATIONS = 20_000
"""Transactions that are looked into, newest first."""


@dataclass(slots=True)
class File:
    """A file of a dataset."""

    path: str
    bytes: int
    disk_bytes: int
    mtime_ns: int


@dataclass(slots=True)
class Dataset:
    """What the files of one dataset tell.

    `live` are the paths that the newest version needs, `missing` those of them that are not there, `cut` those that
    are shorter than they should be, `orphans` files that no version names (None: not found out). `damaged` says of each
    manifest that could not be read why. `compacted_ns` is the time of the newest compaction whose trace is left.
    """

    path: str
    files: dict[str, File] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    versions: dict[int, str] = field(default_factory=dict)
    manifest: Manifest | None = None
    live: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    orphans: set[str] | None = None
    damaged: dict[int, str] = field(default_factory=dict)
    compacted_ns: int | None = None
    oldest_ns: int | None = None
    tags: tuple[str, ...] = ()
    elsewhere: int = 0

    @property
    def name(self) -> str:
        return os.path.basename(self.path)

    @property
    def bytes(self) -> int:
        return sum(f.bytes for f in self.files.values())

    @property
    def disk_bytes(self) -> int:
        return sum(f.disk_bytes for f in self.files.values())

    @property
    def live_bytes(self) -> int:
        return sum(self.files[p].bytes for p in self.live)

    @property
    def dead_bytes(self) -> int:
        """What a prune can free, if no tag holds it."""
        return self.bytes - self.live_bytes

    @property
    def ratio(self) -> float:
        """All bytes by live ones."""
        return self.bytes / max(1, self.live_bytes)

    @property
    def branches(self) -> tuple[str, ...]:
        return tuple(sorted({p.split("/")[1] for p in self.files if p.startswith("tree/")}))

    def weight(self, area: str) -> int:
        """Bytes below a directory of the dataset."""
        return sum(f.bytes for p, f in self.files.items() if p.startswith(f"{area}/"))

    def newest_ns(self) -> int:
        """When the newest file was written."""
        return max((f.mtime_ns for f in self.files.values()), default=0)


def find_datasets(directory: str) -> list[str]:
    """The Lance datasets below a directory, itself included: folders with manifests in `_versions`.

    What a rewrite set aside is none of them.
    """
    return [p for p in _find(directory) if not SET_ASIDE.search(p)]


def find_set_aside(directory: str) -> list[str]:
    """What a rewrite left below a directory: the old dataset, or a copy that was not finished."""
    return [p for p in _find(directory) if SET_ASIDE.search(p)]


def _find(directory: str) -> list[str]:
    found: list[str] = []
    stack = [directory]
    while stack:
        here = stack.pop()
        try:
            entries = list(os.scandir(here))
        except PermissionError:
            continue  # Whoever may not list a folder has no dataset of his own in it.
        folders = [e.path for e in entries if e.is_dir(follow_symlinks=False)]
        if f"{here}/{VERSIONS}" in folders and _has_manifest(f"{here}/{VERSIONS}"):
            found.append(here)
        else:
            stack += folders
    return sorted(found)


def _has_manifest(directory: str) -> bool:
    try:
        with os.scandir(directory) as entries:
            return any(e.name.endswith(".manifest") for e in entries)
    except OSError:
        return True


def read_dataset(path: str, *, history: bool = True) -> Dataset:
    """Look at one dataset; with `history` also for orphans and the last compaction, which reads old manifests."""
    found = Dataset(path)
    for file in _walk(path, found.unreadable):
        found.files[file.path] = file
    for p in found.files:
        folder, _, name = p.rpartition("/")
        if folder == VERSIONS and (version := version_of(name)) is not None:
            found.versions[version] = p
    found.tags = tuple(sorted(os.path.splitext(p.rpartition("/")[2])[0] for p in found.files if "_refs/tags/" in p))
    _read_newest(found)
    if history:
        _read_history(found)
    return found


def _walk(root: str, unreadable: list[str]) -> Iterator[File]:
    stack = [""]
    while stack:
        here = stack.pop()
        try:
            entries = list(os.scandir(f"{root}/{here}"))
        except OSError as error:
            unreadable.append(f"{here or '.'}: {error.strerror}")
            continue
        for e in entries:
            path = f"{here}/{e.name}" if here else e.name
            if e.is_dir(follow_symlinks=False):
                stack.append(path)
                continue
            try:
                stat = e.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # A writer is at work: it renamed or removed it since the listing.
            yield File(path, stat.st_size, stat.st_blocks * 512, stat.st_mtime_ns)


def _load(found: Dataset, version: int) -> Manifest | None:
    try:
        with open(f"{found.path}/{found.versions[version]}", "rb") as file:
            return read_manifest(file.read())
    except OSError as e:
        found.damaged[version] = str(e.strerror)
    except DamagedMessageError as e:
        found.damaged[version] = str(e)
    return None


def _read_newest(found: Dataset) -> None:
    """The newest version that can be read, and the files that it lives by."""
    for version in sorted(found.versions, reverse=True):
        manifest = _load(found, version)
        if manifest is None:
            continue
        found.manifest = manifest
        found.live.add(found.versions[version])
        for piece in manifest.pieces():
            if piece.elsewhere:
                found.elsewhere += 1
                continue
            file = found.files.get(piece.path)
            if file is None:
                found.missing.append(piece.path)
                continue
            found.live.add(piece.path)
            if piece.size and file.bytes < piece.size:
                found.cut.append(piece.path)
        live = {f"_indices/{i.uuid}" for i in manifest.indices if not i.elsewhere}
        found.live |= {p for p in found.files if p.startswith("_indices/") and "/".join(p.split("/")[:2]) in live}
        found.missing += sorted(i for i in live if not any(p.startswith(f"{i}/") for p in found.live))
        found.live |= {p for p in found.files if p == f"_transactions/{manifest.transaction_file}"}
        found.live |= {p for p in found.files if p.startswith(("_refs/", "tree/", "_mem_wal/", "_fri/"))}
        # Blobs of a data file lie in a folder of its name; the hint only helps to find the newest manifest.
        stems = {p[: -len(".lance")] for p in found.live if p.startswith("data/")}
        found.live |= {p for p in found.files if p.count("/") > 1 and "/".join(p.split("/")[:2]) in stems}
        found.live |= {p for p in found.files if p == f"{VERSIONS}/latest_version_hint.json"}
        return


def _read_history(found: Dataset) -> None:
    if found.versions:
        found.oldest_ns = found.files[found.versions[min(found.versions)]].mtime_ns
    _read_operations(found)
    _read_orphans(found)


def _read_operations(found: Dataset) -> None:
    """The newest compaction of which a transaction is left."""
    if found.manifest is not None and found.manifest.operation == COMPACTION:
        found.compacted_ns = found.manifest.timestamp_ns
    files = [f for p, f in found.files.items() if p.startswith("_transactions/")]
    for file in sorted(files, key=lambda f: -f.mtime_ns)[:_OPERATIONS]:
        if found.compacted_ns is not None and file.mtime_ns <= found.compacted_ns:
            return
        try:
            with open(f"{found.path}/{file.path}", "rb", buffering=0) as data:
                operation = operation_of(data.read(_HEAD))
        except OSError as e:
            found.unreadable.append(f"{file.path}: {e.strerror}")
            continue
        if operation == COMPACTION:
            found.compacted_ns = file.mtime_ns
            return


def _read_orphans(found: Dataset) -> None:
    """Files of data and indices that no version names: what a failed write or a killed process left."""
    unnamed = {p.rpartition("/")[2].encode(errors="surrogateescape"): p for p in found.files if _holds_rows(p)}
    for path in found.live:
        unnamed.pop(path.rpartition("/")[2].encode(errors="surrogateescape"), None)
    folders = {p.split("/")[1] for p in found.files if p.startswith("_indices/") and p not in found.live}
    ids = {i: _raw(i) for i in folders}
    budget = _BUDGET_BYTES
    for version in sorted(found.versions, reverse=True):
        if not unnamed and not ids:
            break
        path = found.versions[version]
        budget -= found.files[path].bytes
        if budget < 0:
            return
        try:
            with open(f"{found.path}/{path}", "rb", buffering=0) as file:
                data = file.read()
        except OSError as e:
            found.unreadable.append(f"{path}: {e.strerror}")
            continue
        named = set(_NAMES.findall(data))
        # The byte before a name is its length, which may read as a letter of it.
        for name in unnamed.keys() & (named | {n[1:] for n in named}):
            del unnamed[name]
        for id_ in [i for i, raw in ids.items() if raw in data]:
            del ids[id_]
    found.orphans = set(unnamed.values())
    found.orphans |= {p for p in found.files if p.startswith("_indices/") and p.split("/")[1] in ids}


def _holds_rows(path: str) -> bool:
    return path.startswith("data/") and path.count("/") == 1


def _raw(name: str) -> bytes:
    try:
        return uuid.UUID(name).bytes
    except ValueError:
        return name.encode(errors="surrogateescape")
