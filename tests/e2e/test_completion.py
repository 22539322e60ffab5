"""Completion for bash, zsh and fish: the scripts are there, and what they call gives the right words."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.command import COMMAND, Command

SHELLS = ["bash", "zsh", "fish"]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script(holdfast: Command, shell: str) -> None:
    done = holdfast.cold(_HOLDFAST_COMPLETE=f"source_{shell}")
    assert done.exit == 0
    assert "_HOLDFAST_COMPLETE" in done.out
    assert f"complete_{shell}" in done.out


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_good_shell(holdfast: Command, shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"SKIPPED LOUDLY: no {shell} on this machine, so its script was not run")
    script = tmp_path / "script"
    script.write_text(holdfast.cold(_HOLDFAST_COMPLETE=f"source_{shell}").out)
    subprocess.run([shell, "-n", str(script)], check=True)


def complete(holdfast: Command, shell: str, words: str) -> str:
    more = {"_HOLDFAST_COMPLETE": f"complete_{shell}"}
    if shell == "bash":
        more |= {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    else:
        more |= {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = holdfast.cold(**more)
    assert done.exit == 0
    assert done.err == ""
    return done.out


@pytest.mark.parametrize("shell", SHELLS)
def test_verbs_and_options(holdfast: Command, shell: str) -> None:
    verbs = complete(holdfast, shell, "holdfast re")
    assert all(verb in verbs for verb in ("recall", "read", "rebuild"))
    assert "sync" not in verbs
    options = complete(holdfast, shell, "holdfast recall --b")
    assert "--budget" in options
    assert "--by" in options


def test_bash_completes(holdfast: Command) -> None:
    """The function that the script defines, as bash calls it."""
    script = (
        'eval "$(_HOLDFAST_COMPLETE=source_bash holdfast)"; COMP_WORDS=(holdfast sy); COMP_CWORD=1; '
        '_holdfast_completion holdfast; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    env = holdfast.env | {"PATH": f"{Path(COMMAND).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.split() == ["sync"]


def test_show_and_install(holdfast: Command, tmp_path: Path) -> None:
    """For the shell it is run from."""
    env = holdfast.env | {"HOME": str(tmp_path), "SHELL": "/bin/bash"}
    for option in ("--show-completion", "--install-completion"):
        script = f'"{COMMAND}" {option}; exit $?'
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=env, check=True)
        assert "completion" in done.stdout
    installed = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert any("holdfast" in p.read_text() for p in installed)
