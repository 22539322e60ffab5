"""Names that tell of a quarrel: copies that a file synchroniser set aside, and names that another system takes for one.

Pure. Such files stay notes like all others; they are reported, for only their writer can say which one is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from holdfast.model import fold

# Syncthing; Dropbox, Nextcloud, Seafile and others, which put it in brackets; ownCloud of old.
_COPY = re.compile(
    r"(?P<stem>.+?)(?:"
    r"\.sync-conflict-[^./]+"
    r"|[ _]?\((?:[^()/]*[ _])?(?:conflicted[ _]copy|sfconflict|case conflict|encoding conflict)(?![^\W_])[^()/]*"
    r"(?:\([^()/]*\)[^()/]*)?\)"
    r"|_conflict-\d{8}-\d{6}"
    r")(?P<suffix>\.[^./]+)?",
    re.IGNORECASE,
)


def conflict_of(name: str) -> str | None:
    """The name of the file that `name`, the last part of a path, is a sync-conflict copy of; None if it is none."""
    if "onflict" not in name and "ONFLICT" not in name:
        return None
    found = _COPY.fullmatch(name)
    if found is None:
        return None
    return found["stem"] + (found["suffix"] or "")


def collisions(names: Iterable[str]) -> list[list[str]]:
    """Those of `names`, all of one folder, that are one name where case, or the form of accents, does not count."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(fold(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]
