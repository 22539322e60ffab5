"""What the format says about one file on disk, in a vault or not."""

from __future__ import annotations

import os
from typing import Any

from holdfast.engine.places import find_vault
from holdfast.errors import HoldfastError, NotFound
from holdfast.files.fs import FileSystem
from holdfast.files.notes import read_note
from holdfast.model import show_path
from holdfast.text.note import parse


def parse_file(path: str, fs: FileSystem | None = None) -> tuple[dict[str, Any], bool]:
    """The object of docs/format.md for one file, and whether it could be read.

    Its vault is the nearest folder above that holds `.holdfast/`, else the current one.
    """
    fs = fs or FileSystem()
    full = fs.realpath(path)
    try:
        root = find_vault(fs, os.path.dirname(full))
    except NotFound:
        root = fs.realpath(".")
    if not full.startswith(root.rstrip("/") + "/"):
        root = os.path.dirname(full)
    relative = full[len(root.rstrip("/")) + 1 :]
    try:
        body = read_note(fs, root, relative)
    except (HoldfastError, FileNotFoundError) as e:
        message = e.message if isinstance(e, HoldfastError) else f"There is no file {show_path(path)}."
        return {"problems": [{"line": 0, "message": message}]}, False
    return parse(body.data, show_path(relative)).parsed.to_dict(), True
