"""The command line. Answers `--version` before anything else is imported."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """The entry point of the `holdfast` command."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from holdfast.version import VERSION

        print(f"holdfast {VERSION}")
        return
    # numpy's BLAS starts a thread for each core when it is loaded, which costs more than the rest of a short command;
    # nothing here multiplies matrices.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from holdfast.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
