"""Paths from people, agents and requests: inside the vault and not reserved, or refused.

Nothing here reads a file. What a path leads to at the moment of reading is proven in `files.notes`.
"""

from __future__ import annotations

import os
import re
import stat

from holdfast.errors import PathNotAllowed
from holdfast.files.fs import FileSystem
from holdfast.model import show_path

DEPTH = 32
NAME_BYTES = 255
RESERVED = frozenset({".git", ".holdfast", ".obsidian", ".trash", "node_modules"})
"""Folders that hold no notes; a vault is expected to have them, so nothing is said about them."""

_NOTE_SUFFIXES = (".md", ".markdown", ".txt")
_BAD_BYTE = re.compile(rb"%[89A-Fa-f][0-9A-Fa-f]")
# HFS+ ignores these in names, so that "\u200c.git" would be ".git" there.
_UNSEEN = dict.fromkeys([*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF])


def is_note(name: str | bytes) -> bool:
    """Whether a file of this name is a note: by its suffix, and not hidden."""
    text = os.fsdecode(name)
    return text.lower().endswith(_NOTE_SUFFIXES) and not text.startswith(".")


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of the vault's notes."""
    return name.startswith(".") or name in RESERVED


def is_inside(fs: FileSystem, root: str, real: str) -> bool:
    """Whether the real path `real` lies in the vault, in no hidden or reserved folder."""
    base = root if real.startswith(root + "/") else fs.realpath(root)
    if not real.startswith(base.rstrip("/") + "/"):
        return False
    return not any(is_hidden(part) for part in real[len(base) :].strip("/").split("/"))


def safe_path(root: str, path: str, fs: FileSystem | None = None) -> str:
    """`path` as a clean path relative to the vault `root`; raises PathNotAllowed.

    `%XX` stands for a byte that is no UTF-8, as `model.show_path` writes it; a name that really holds such text wins.
    An absolute path is taken if it lies in the vault. The note need not exist, but no folder on the way may be a
    symbolic link: what lies behind one is not part of the vault.
    """
    fs = fs or FileSystem()
    clean = _relative(root, path)
    decoded = _with_bad_bytes(clean)
    if decoded != clean and _stat(fs, root, clean) is None:
        clean = decoded
    parts = clean.split("/")
    for end in range(1, len(parts)):
        st = _stat(fs, root, "/".join(parts[:end]))
        if st is None:
            break
        if not stat.S_ISDIR(st.st_mode):
            raise _refusal(path, "leads through something that is no folder of the vault")
    st = _stat(fs, root, clean)
    if st is not None and stat.S_ISLNK(st.st_mode) and not is_inside(fs, root, fs.realpath(f"{root}/{clean}")):
        raise _refusal(path, "is a link out of the vault")
    return clean


def _relative(root: str, path: str) -> str:
    if "\0" in path:
        raise _refusal(path, "holds a NUL")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise _refusal(path, "holds characters that no file name can have") from None
    if path.startswith("/"):
        if not path.startswith(root.rstrip("/") + "/"):
            raise _refusal(path, "is outside the vault")
        path = path[len(root.rstrip("/")) + 1 :]
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts:
        raise _refusal(path, "names no note")
    if len(parts) > DEPTH + 1:
        raise _refusal(path, f"is more than {DEPTH} folders deep")
    for part in parts:
        _check_name(path, part)
    return "/".join(parts)


def _check_name(path: str, part: str) -> None:
    if len(os.fsencode(part)) > NAME_BYTES:
        raise _refusal(path, f"has a name of more than {NAME_BYTES} bytes")
    # A backslash is a plain character here, but a separator where the same vault is opened on another system.
    for piece in part.split("\\"):
        seen = piece.translate(_UNSEEN).strip().casefold()
        if seen == "..":
            raise _refusal(path, "climbs out of its folder")
        if is_hidden(seen):
            raise _refusal(path, "is hidden or in a reserved folder")


def _with_bad_bytes(path: str) -> str:
    """`path` with each `%XX` that stands for a byte that is no UTF-8 as that byte."""
    if "%" not in path:
        return path
    raw = _BAD_BYTE.sub(lambda m: bytes([int(m[0][1:], 16)]), os.fsencode(path))
    # Bytes that make up a character were written as that character by show_path; so this %XX is the name's own text.
    return path if show_path(os.fsdecode(raw)).upper() != path.upper() else os.fsdecode(raw)


def _stat(fs: FileSystem, root: str, path: str) -> os.stat_result | None:
    try:
        return fs.lstat(f"{root}/{path}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        raise _refusal(path, f"cannot be looked at ({e.strerror})") from e


def _refusal(path: str, why: str) -> PathNotAllowed:
    shown = path.encode("utf-8", "backslashreplace").decode() if not path.isascii() else path
    return PathNotAllowed(f"The path {shown[:200]!r} {why}.")
