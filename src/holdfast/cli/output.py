"""What is printed, and how: as JSON or for people, where no control character of a note reaches the terminal."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from holdfast.errors import HoldfastError
from holdfast.model import show_path
from holdfast.results import Result

# A damaged index that a command could not work around is rebuilt meanwhile: trying again helps.
RETRY = 75

R = TypeVar("R", bound=Result)

# A note must not be able to drive the terminal it is shown on.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# In a name or title, which stand on one line with words of ours, neither may it break or reorder that line.
_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# What JSON may hold raw and a terminal or a reader of lines may take for more than text.
_JSON = re.compile(r"[\x7f-\x9f\u2028\u2029]")


class ReaderGoneError(Exception):
    """The reader of stdout has gone; nobody is left to tell."""


def prepare() -> None:
    """Make stdout and stderr UTF-8, whatever the locale says, and something that can be written to."""
    for fd in (0, 1, 2):
        # A stream that was closed before we began: its number must not go to a file of ours.
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="replace")


def write(text: str) -> None:
    """One text and a newline to stdout; bytes of a name that are no UTF-8 as `%XX`. Raises ReaderGoneError."""
    try:
        sys.stdout.write(show_path(text) + "\n")
    except BrokenPipeError as e:
        raise ReaderGoneError from e


def json_text(value: object) -> str:
    """`value` as JSON on one line, without a raw control character in it."""
    text = json.dumps(value, ensure_ascii=False)
    return _JSON.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def leave() -> None:
    """Give up stdout, whose reader has gone or whose disk is full, so that nothing is tried again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show(result: R, as_json: bool, as_text: Callable[[R], str], *, explained: bool = True) -> None:
    """Print a result as JSON or as text."""
    if as_json:
        value = result.to_dict()
        if not explained:
            value.pop("explained", None)
        write(json_text(value))
    else:
        text = as_text(result)
        if text:
            write(text)


def show_now(result: R, as_json: bool, as_text: Callable[[R], str]) -> None:
    """As `show`, for what comes bit by bit: whoever reads a pipe sees it at once."""
    show(result, as_json, as_text)
    try:
        sys.stdout.flush()
    except BrokenPipeError as e:
        raise ReaderGoneError from e


def error(e: HoldfastError, as_json: bool) -> int:
    """Print an error on one line of stderr and return its exit code."""
    if as_json:
        line = json_text({"error": {**e.to_dict(), "exit": e.exit or RETRY}})
    else:
        line = f"holdfast: {one_line(e.message)} {one_line(e.hint)}".rstrip()
        if diff := getattr(e, "diff", ""):
            line += f"\n{cleaned(diff).rstrip()}"
    sys.stderr.write(show_path(line) + "\n")
    return e.exit or RETRY


def cleaned(text: str) -> str:
    """Text of a note without what could drive a terminal."""
    return _CONTROL.sub("\ufffd", text)


def one_line(text: str) -> str:
    """A name or title that stays on its line, in its order."""
    return _LINE.sub(lambda m: " " if m[0] in "\t\n\r" else "\ufffd", text)


def _is_colored() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(text: str, code: str) -> str:
    """`text` in this style (an ANSI code) on a terminal."""
    return f"\x1b[{code}m{text}\x1b[0m" if _is_colored() else text


def linked(path: str, root: str, line: int) -> str:
    """`path:line`, on a terminal a link to it."""
    shown = styled(f"{one_line(path)}:{line}", "36")
    if not _is_colored():
        return shown
    from urllib.parse import quote

    return f"\x1b]8;;file://{quote(os.fsencode(root))}/{quote(path)}#{line}\x1b\\{shown}\x1b]8;;\x1b\\"


@contextmanager
def progress(title: str, words: tuple[str, str] = ("read", "seen")) -> Iterator[Callable[[int, int], None] | None]:
    """A progress line on a terminal, nothing elsewhere; `words` say what is counted."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, words="")
        yield lambda done, seen: bar.update(task, words=f"{done:,} {words[0]}, {seen:,} {words[1]}")


@contextmanager
def progress_of(title: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on a terminal, with the rate and the time that is left; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f} of {task.total:,.0f} chunks"),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=1, rate="", visible=False)

        def update(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, rate=f"{speed:,.0f}/s" if speed else "", visible=True)

        yield update


def size_text(count: float) -> str:
    """Bytes for people."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def counted(number: int, word: str) -> str:
    """A number with its word, in the plural where it is not 1."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"
