"""What reaches a terminal, a pipe and a file: no escapes where nobody asked, none of a note's at all, always UTF-8."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

from tests.e2e.command import COMMAND, Command

EVIL = "\x1b[2J\x1b]0;owned\x07 \x9b31m \x7f \x85 \x08\x08 \x00 \r"


@pytest.fixture
def evil(own: Command, notes: Path) -> Command:
    """A vault whose notes try to drive the terminal, by text, title, tags, heading, speaker and name."""
    header = '---\ntitle: "T \\e[31m\\x9b2J\\nNo hits."\ntags: ["\\e]0;tag\\a"]\nauthor: "\\e[1m"\n---\n'
    (notes / "text.md").write_text(f"{header}# Head {EVIL}\n\nhorizon {EVIL} end\n", encoding="utf-8")
    (notes / "\x1b[35mname\n2.md").write_text("horizon\n")
    talk = "---\ntype: conversation\n---\n\n<!-- turn 1 spe\x1baker 2026-01-01T00:00:00Z -->\nhorizon \x1b[5m talk\n"
    (notes / "talk.md").write_text(talk)
    (notes / "bad.md").write_text("---\ntitle: [\x1b[31m\n---\nhorizon\n")
    return own


VERBS = [
    ["sync", "--explain"],
    ["recall", "horizon", "--explain"],
    ["recall", "horizon \x1b[31m nosuch\x1b:x"],
    ["read", "text.md"],
    ["read", "\x1b[35mname\n2.md"],
    ["read", "\x1b[31m"],
    ["list"],
    ["list", "--jsonl"],
    ["status"],
]


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
def test_a_note_never_drives_the_terminal(evil: Command, as_json: list[str]) -> None:
    for verb in VERBS:
        done = evil(*verb, *as_json)
        raw = re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", (done.out + done.err).replace("\t", ""))
        assert not raw, (verb, raw)
    for name in ("text.md", "talk.md", "bad.md", "\x1b[35mname\n2.md"):
        done = evil("parse", str(evil.vault) + "/" + name)
        assert not re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", done.out)


def test_a_title_cannot_pass_for_a_line_of_ours(evil: Command) -> None:
    for verb in (["recall", "horizon"], ["list"]):
        assert not [line for line in evil(*verb).out.split("\n") if line.startswith("No hits.")]


def test_json_keeps_what_the_note_says(evil: Command) -> None:
    titles = {n["title"] for n in evil("list", "--json").json["notes"]}
    assert "T \x1b[31m\x9b2J\nNo hits." in titles


def test_a_pipe_gets_neither_colour_nor_bar(holdfast: Command) -> None:
    for verb in (["sync"], ["recall", "espresso", "--explain"], ["list"], ["status"], ["--help"], ["rebuild"], []):
        done = holdfast.cold(*verb, FORCE_COLOR="1", TERM="xterm-256color")
        assert "\x1b" not in done.out + done.err, verb
        assert done.err == "" or verb == []


def in_terminal(command: Command, *args: str, **more: str) -> str:
    """What the command writes to a terminal that is its stdout and stderr."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
    env = command.env | {"TERM": "xterm-256color"} | more
    process = subprocess.Popen([COMMAND, *args], stdin=slave, stdout=slave, stderr=slave, env=env, cwd=command.state)
    os.close(slave)
    shown = b""
    until = time.monotonic() + 60
    try:
        while time.monotonic() < until:
            if not select.select([master], [], [], 0.2)[0]:
                if process.poll() is not None:
                    break
                continue
            try:
                part = os.read(master, 65536)
            except OSError:  # Linux says EIO where the other side is closed
                break
            if not part:
                break
            shown += part
    finally:
        os.close(master)
        assert process.wait(timeout=60) == 0
    return shown.decode("utf-8")


def test_a_terminal_gets_colour_and_links(holdfast: Command, sample: Path) -> None:
    shown = in_terminal(holdfast, "recall", "月曜日が休みの喫茶店はどこですか", "-k", "1")
    assert "\x1b[1m大阪の喫茶店\x1b[0m" in shown
    links = re.findall(r"\x1b\]8;;(file://[^\x1b]+)\x1b\\", shown)
    assert links
    assert links[0].startswith(f"file://{sample}/%E5%A4%A7")
    assert shown.count("\x1b]8;;\x1b\\") == len(links)


@pytest.mark.parametrize("more", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=lambda m: next(iter(m)))
def test_a_terminal_that_wants_no_colour_gets_none(holdfast: Command, more: dict[str, str]) -> None:
    assert "\x1b" not in in_terminal(holdfast, "recall", "espresso", **more)


def test_a_note_in_a_terminal_has_no_escapes_of_its_own(evil: Command) -> None:
    shown = in_terminal(evil, "recall", "horizon")
    ours = re.compile(r"\x1b\[(?:0|1|2|33|36)m|\x1b\]8;;(?:file://[!-~]*)?\x1b\\")
    assert not re.findall(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", ours.sub("", shown))


def test_a_bar_is_shown_on_a_terminal_and_removed(own: Command) -> None:
    shown = in_terminal(own, "sync")
    assert "Reading notes" in shown
    assert "4 added" in shown


@pytest.mark.parametrize("locale", ["C", "POSIX", "de_DE.ISO-8859-1", "nosuch"])
def test_the_output_is_utf_8_in_any_locale(holdfast: Command, locale: str) -> None:
    more = {"LC_ALL": locale}
    done = holdfast.cold("recall", "月曜日が休みの喫茶店はどこですか".encode(), "-k", "1", **more)
    assert done.exit == 0
    assert "大阪の喫茶店.md:8" in done.out
    assert holdfast.cold("read", "Elin Sæther".encode(), **more).exit == 0
    found = holdfast.cold("list", "people", "--json", "--no-sync", **more).json["notes"]
    assert "people/Elin Sæther.md" in {n["path"] for n in found}


def test_the_reader_of_a_pipe_may_leave(holdfast: Command, sample: Path) -> None:
    notes = [str(p) for p in sorted(sample.rglob("*.md"))] * 4
    for args in (["parse", *notes], ["list", "--jsonl", "--limit", "1000"], ["recall", "the", "-k", "50"]):
        script = '"$0" "$@" | head -n 1; echo "${PIPESTATUS[0]}"'
        done = subprocess.run(
            ["bash", "-c", script, COMMAND, *args],
            capture_output=True,
            env=holdfast.env,
            cwd=holdfast.state,
            check=True,
        )
        first, status = done.stdout.decode("utf-8").splitlines()
        assert first
        assert (status, done.stderr) == ("0", b"")


def test_a_closed_stdout_is_no_crash(holdfast: Command) -> None:
    for script in ('"$0" list >&-', '"$0" list 2>&-', '"$0" read nosuch 2>&-'):
        done = subprocess.run(
            ["bash", "-c", script, COMMAND], capture_output=True, env=holdfast.env, cwd=holdfast.state, check=False
        )
        assert done.returncode in (0, 4, 75), script
        assert b"Traceback" not in done.stderr


def test_interrupted_is_130_and_silent(own: Command, notes: Path) -> None:
    """And what was done until then is kept; the next sync goes on."""
    for n in range(3_000):
        (notes / f"n{n}.md").write_text(f"# Note {n}\n\n" + "word " * 300)
    process = subprocess.Popen(
        [COMMAND, "sync"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=own.env, cwd=own.state,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # who runs in the background may ignore it
    )  # fmt: skip
    until = time.monotonic() + 30
    while not list(own.state.rglob("manifest.json")) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"")
    done = own("sync", "--json")
    assert (done.exit, done.json["notes"]) == (0, 3_004)


def test_jsonl_lines_are_lines_for_everybody(own: Command, notes: Path) -> None:
    """U+2028 and U+0085 end a line for some readers; in JSON they are escaped."""
    (notes / "sep.md").write_text('---\ntitle: "a\u2028b\u2029c\u0085d"\n---\n', encoding="utf-8")
    out = own("list", "--jsonl").out
    assert len(out.splitlines()) == 5
    assert "a\u2028b\u2029c\u0085d" in {json.loads(line)["title"] for line in out.splitlines()}
