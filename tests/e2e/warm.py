"""A process that has imported what the command imports, and forks for each run: hundreds of runs in seconds.

Everything from the entry point on is the command's own; only the start of the interpreter and the imports are shared.
What depends on those is tested with the cold command (tests/e2e/test_terminal.py, tests/e2e/test_cold.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any


class Warm:
    """The process and the pipes to it."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        env = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.e2e.warm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env | {"LC_ALL": "C.UTF-8"},
            cwd=Path(__file__).resolve().parent.parent.parent,
        )

    def run(self, args: list[str], env: dict[str, str], cwd: str) -> tuple[int, bytes, bytes]:
        """Run the command with `args` and give its exit code, stdout and stderr."""
        out, err = self._scratch / "out", self._scratch / "err"
        request = {"args": args, "env": env, "cwd": cwd, "out": str(out), "err": str(err)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return code, out.read_bytes(), err.read_bytes()

    def __enter__(self) -> Warm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()


def child(request: dict[str, Any]) -> int:
    """Be the command: its environment, folder, output and arguments."""
    for fd, name in ((1, "out"), (2, "err")):
        file = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, fd)
        os.close(file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = ["holdfast", *request["args"]]
    from holdfast.cli import main

    try:
        main()
        code = 0
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    return code


def serve() -> None:
    """Answer requests, one a line, until there are no more."""
    import apsw  # noqa: F401
    import numpy  # noqa: F401
    import pathspec  # noqa: F401
    import Stemmer  # noqa: F401
    import yaml  # noqa: F401

    import holdfast.cli.app  # noqa: F401

    answers = os.dup(1)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = child(json.loads(line))
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        os.write(answers, f"{os.waitstatus_to_exitcode(status)}\n".encode())


if __name__ == "__main__":
    serve()
