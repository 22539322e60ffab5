"""The command line. Answers `--version` before anything else is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point of the `holdfast` command."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from holdfast.version import VERSION

        print(f"holdfast {VERSION}")
        return
    from holdfast.cli.app import run

    sys.exit(run(sys.argv[1:]))
