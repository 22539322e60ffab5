"""Which directory holds the index of a vault, and its identity card: `manifest.json`, replaced by rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace

from holdfast.errors import ConfigError, IndexDamaged, IndexFault, IndexTooNew, VaultMissing
from holdfast.files.fs import FileSystem
from holdfast.index.quarantine import names
from holdfast.index.sqlite.db import SCHEMA

MANIFEST = "manifest.json"
FORMAT = 1

NOT_ITS_FAULT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM)
"""What says nothing about the index: an index is set aside for damage only."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The identity card of a published index. `vault` is "" for a folder without an id, which is known by `root`."""

    vault: str
    root: str
    generation: int
    database: str
    analyzer: str
    schema: int = SCHEMA
    embedder: str | None = None
    format: int = FORMAT


def index_directory(fs: FileSystem, state_dir: str, root: str, vault_id: str | None) -> str:
    """The index directory of the vault at the real path `root`.

    One id at two roots (a clone, a copy) has two; a vault whose old root is gone takes its old directory along.
    """
    state = fs.realpath(state_dir)
    if state == root or state.startswith(root.rstrip("/") + "/"):
        raise ConfigError(
            f"The state directory {state} is inside the vault.", hint="Choose one outside it with --state-dir."
        )
    place = _place(root)
    mine = f"{state}/{vault_id or 'folder'}-{place}"
    if vault_id is None:
        _refuse_lost_id(fs, state, place, root)
    elif not exists(fs, mine):
        _adopt(fs, state, vault_id, mine)
    return mine


def is_known(fs: FileSystem, state_dir: str, root: str) -> bool:
    """Whether there is an index of a vault at the real path `root`."""
    return any(name.endswith("-" + _place(root)) for name in names(fs, fs.realpath(state_dir)))


def _place(root: str) -> str:
    return hashlib.blake2b(os.fsencode(root), digest_size=4).hexdigest()


def _refuse_lost_id(fs: FileSystem, state: str, place: str, root: str) -> None:
    """A folder that had an id and has none now is an unmounted disk, not a new and empty vault."""
    for name in names(fs, state):
        if name.endswith("-" + place) and not name.startswith("folder-"):
            raise VaultMissing(
                f"The folder {root} was a vault and its .holdfast is gone.",
                hint=f"Mount it again or restore .holdfast; if it is to be a new vault, remove {state}/{name} first.",
            )


def _adopt(fs: FileSystem, state: str, vault_id: str, mine: str) -> None:
    folder = f"{state}/folder-{mine.rpartition('-')[2]}"
    if exists(fs, folder):
        _adopt_folder(fs, folder, vault_id, mine)
        return
    for name in names(fs, state):
        if name.startswith(vault_id + "-"):
            try:
                old = read_manifest(fs, f"{state}/{name}")
            except (IndexFault, OSError):
                continue
            if old is not None and not exists(fs, old.root):
                fs.rename(f"{state}/{name}", mine)
                return


def _adopt_folder(fs: FileSystem, folder: str, vault_id: str, mine: str) -> None:
    """The index of a folder that was given an id since. A death in between leaves an index that is built anew."""
    try:
        old = read_manifest(fs, folder)
        fs.rename(folder, mine)
        if old is not None:
            write_manifest(fs, mine, replace(old, vault=vault_id))
    except (IndexFault, OSError):
        return  # built anew


def write_manifest(fs: FileSystem, directory: str, manifest: Manifest) -> None:
    """Replace the manifest, wholly or not at all."""
    fs.write_new(f"{directory}/{MANIFEST}", (json.dumps(asdict(manifest), indent=1) + "\n").encode())


def exists(fs: FileSystem, path: str) -> bool:
    """Whether anything is there, as far as may be asked."""
    try:
        fs.lstat(path)
    except OSError:
        return False
    return True


def read_manifest(fs: FileSystem, directory: str) -> Manifest | None:
    """The manifest, or None if there is none; raises IndexDamaged, IndexTooNew, or OSError where it may not be read."""
    try:
        fd = fs.open_read(f"{directory}/{MANIFEST}")
    except FileNotFoundError:
        return None
    except OSError as e:
        if e.errno in NOT_ITS_FAULT:
            raise
        raise IndexDamaged(f"{directory}/{MANIFEST} cannot be opened: {e.strerror}.") from e
    try:
        raw = json.loads(fs.read_all(fd))
        if raw["format"] > FORMAT or raw["schema"] > SCHEMA:
            raise IndexTooNew(f"The index in {directory} was made by a newer Holdfast.")
        manifest = Manifest(**raw)
        if not (type(manifest.generation) is int and manifest.generation > 0):
            raise ValueError(manifest.generation)
        if not all(isinstance(x, str) for x in (manifest.vault, manifest.root, manifest.database)):
            raise TypeError(manifest)
        return manifest
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as e:
        raise IndexDamaged(f"{directory}/{MANIFEST} is damaged.") from e
    finally:
        fs.close(fd)
