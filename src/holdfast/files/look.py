"""Look at one path as the walk would, without walking: for hints and for files just written."""

from __future__ import annotations

import errno
import stat

from holdfast.files.fs import FileSystem
from holdfast.files.ignore import IGNORE_FILES, Rules, read_own, rules_for
from holdfast.files.paths import DEPTH, is_hidden, is_inside
from holdfast.files.stats import witness
from holdfast.model import INODE_MASK, Witness


def look_at(fs: FileSystem, root: str, path: str, inode_mask: int = INODE_MASK) -> Witness | None:
    """The witness that the walk would yield for `path`, or None if it would yield none: gone, hidden, ignored, no file.

    Costs one stat, and one for each folder on the way and each possible ignore file there. Raises OSError where the
    walk would call the file unreadable.
    """
    *folders, name = path.split("/")
    if len(folders) > DEPTH or any(is_hidden(part) for part in (*folders, name)):
        return None
    rules: Rules | None = _own_rules(fs, root, "", None)
    for i, folder in enumerate(folders):
        here = "/".join(folders[: i + 1])
        if rules is not None and rules.ignores(folder, is_dir=True):
            return None
        try:
            if not stat.S_ISDIR(fs.lstat(f"{root}/{here}").st_mode):
                return None  # what lies behind a link is not part of the vault
        except (FileNotFoundError, NotADirectoryError):
            return None
        rules = _own_rules(fs, root, here, rules)
    if rules is not None and rules.ignores(name):
        return None
    full = f"{root}/{path}"
    try:
        st = fs.lstat(full)
        if stat.S_ISLNK(st.st_mode):
            if not is_inside(fs, root, fs.realpath(full)):
                return None
            st = fs.stat(full)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        if e.errno == errno.ELOOP:
            return None  # a link that leads back to itself
        raise
    if not stat.S_ISREG(st.st_mode):
        return None
    prefix = "/".join(folders).replace("/", "\0") + "\0\0" if folders else "\0"
    return witness(prefix.encode("utf-8", "surrogateescape"), name, st, inode_mask)


def _own_rules(fs: FileSystem, root: str, folder: str, above: Rules | None) -> Rules | None:
    full = f"{root}/{folder}" if folder else root
    names = []
    for name in IGNORE_FILES:
        try:
            if stat.S_ISREG(fs.lstat(f"{full}/{name}").st_mode):
                names.append(name)
        except OSError:
            continue  # not there, as nearly always
    spec = read_own(fs, full, names).spec if names else None
    return rules_for(folder, above, spec)
