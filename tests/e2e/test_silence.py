"""Nothing leaves this machine, and nothing is written but where it is said: what libraries do counts too."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fault.vaults import repository

ASK = """
import sys, time
from holdfast import Config, Vault
with Vault.open(sys.argv[1], state_dir=sys.argv[2], config=Config(background=False)) as vault:
    vault.sync()
    assert vault.recall("which pet lives here").receipt.vectors.ready
time.sleep(1)
"""


def test_the_model_reports_to_nobody(tmp_path: Path) -> None:
    if not shutil.which("strace"):
        pytest.skip("SKIPPED LOUDLY: strace is missing, so nobody sees which sockets are opened")
    for name in ("notes", "home", "state"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes/a.md").write_text("# Miso\n\nThe cat sleeps on the stove.\n")
    # With CI set, the library keeps quiet by itself.
    hidden = ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environ = {k: v for k, v in os.environ.items() if k not in hidden and not k.startswith("HOLDFAST_")}
    environ |= {"HOME": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    environ["HOLDFAST_DATA"] = str(tmp_path / "history")
    log = tmp_path / "log"
    subprocess.run(
        ["strace", "-f", "-e", "trace=socket", "-o", log, sys.executable, "-c", ASK,
         str(tmp_path / "notes"), str(tmp_path / "state")],
        cwd=repository(), env=environ, check=True, timeout=300,
    )  # fmt: skip
    assert list((tmp_path / "home").rglob("*")) == []
    assert not re.search(r"AF_INET", log.read_text(errors="replace"))
