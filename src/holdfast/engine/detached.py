"""Work that goes on after a command has answered: the same verb in a process of its own, which nobody waits for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Literal

from holdfast.config import Config
from holdfast.engine.workspace import Workspace

PREFIX = "HOLDFAST_"


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
                env=environment(ws.config, ws.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                close_fds=True,
            )
        except (OSError, ValueError) as e:  # ValueError: a setting that no environment can hold
            ws.count(f"background_{verb}_failed")
            return f"a {verb} in the background could not be started: {getattr(e, 'strerror', None) or e}"
        return ""

    def close(self) -> None:
        """Let go of what still runs: it is to outlive this process."""
        for child in self._children.values():
            if child.poll() is None:
                child.returncode = 0  # or Python warns that nobody waited for it
        self._children.clear()


def environment(config: Config, environ: Mapping[str, str]) -> dict[str, str]:
    """What a process is given so that it does as this one was told: the `environ` of this vault, and every setting.

    Every one, since a settings file of the user's would fill in what is left out, and send texts to where the program
    did not want them. What stands in the environment for Holdfast, but was not given to this vault, is left out; so is
    a key. Test: fault/test_background.py.
    """
    left_out = {config.embedder_key_variable}
    out = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX) and k not in left_out}
    return out | dict(environ) | {PREFIX + f.name.upper(): str(getattr(config, f.name)) for f in fields(config)}
