"""Work that goes on after a command has answered: the same verb in a process of its own, which nobody waits for."""

from __future__ import annotations

import subprocess
import sys
from typing import Literal

from holdfast.engine.workspace import Workspace


class Detached:
    """At most one process of each verb, started by this process for one vault."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, verb: Literal["sync", "embed"]) -> str:
        """Start it unless it runs, or the settings forbid it; returns what hindered, "" if it is on its way."""
        ws, known = self._ws, self._children.get(verb)
        if not ws.config.background:
            return "work in the background is switched off"
        if known is not None and known.poll() is None:
            return ""
        command = [sys.executable, "-m", "holdfast", verb, "--vault", ws.root, "--state-dir", ws.state_dir]
        try:
            self._children[verb] = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                close_fds=True,
            )
        except OSError as e:
            ws.count(f"background_{verb}_failed")
            return f"a {verb} in the background could not be started: {e.strerror}"
        return ""

    def close(self) -> None:
        """Let go of what still runs: it is to outlive this process."""
        for child in self._children.values():
            if child.poll() is None:
                child.returncode = 0  # or Python warns that nobody waited for it
        self._children.clear()
