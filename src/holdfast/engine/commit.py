"""With `history = "commit"`, each change that is made through us is also a commit of the vault's own git repository.

It is made after the change is on disk and in the history; that it fails changes nothing about that, and is counted.
Hooks and signing are left out: neither may ask a question here, and a hook may change notes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from holdfast.engine.workspace import Workspace
from holdfast.history.rows import By
from holdfast.model import show_path

_LIMIT_S = 30


def commit(ws: Workspace, paths: Sequence[str], what: str, by: By) -> None:
    """Commit these paths of the vault, and nothing else that is changed there."""
    git = shutil.which("git")
    if git is None:
        ws.count("commit_without_git")
        return
    person = by.author or "Holdfast"
    address = "".join(c for c in person if c.isascii() and c.isalnum()) or "holdfast"
    who = f"{person.translate({60: None, 62: None, 10: None})} <{address}@holdfast>"
    message = by.reason or f"{what} {show_path(paths[0])}"
    if by.session:
        message += f"\n\nSession: {by.session}"
    plain = [git, "-c", "core.hooksPath=/dev/null", "-c", "commit.gpgsign=false", "-c", f"user.name={person}"]
    plain += ["-c", f"user.email={address}@holdfast", "-C", ws.root]
    there = [p for p in paths if os.path.lexists(f"{ws.root}/{p}")]
    steps = [[*plain, "add", "--", *there]] if there else []
    steps.append([*plain, "commit", "-q", "--only", f"--author={who}", "-m", message, "--", *paths])
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | {"GIT_LITERAL_PATHSPECS": "1"}
    try:
        for step in steps:
            subprocess.run(step, check=True, capture_output=True, timeout=_LIMIT_S, env=env)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as e:
        ws.count("commit_failed", e)
