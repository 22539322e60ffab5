"""Every case of the note format's grammar through the command."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.command import COMMAND, ROOT, Command

CASES = Path(os.environ.get("HOLDFAST_SHARED") or ROOT.parent / "shared") / "cases"


@pytest.mark.skipif(not CASES.is_dir(), reason=f"SKIPPED LOUDLY: {CASES} is not there; set HOLDFAST_SHARED")
def test_grammar_cases(own: Command) -> None:
    done = subprocess.run(
        [sys.executable, CASES / "check_grammar.py", CASES / "grammar.yaml", shlex.quote(COMMAND), "--batch"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={k: v for k, v in own.env.items() if k != "PYTHONWARNINGS"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed, failed = done.stdout.splitlines()[-1].split(", ")
    assert int(passed.split()[0]) > 50
    assert failed == "0 failed"
