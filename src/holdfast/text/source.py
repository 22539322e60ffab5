"""Bytes of a note -> its lines, with the bytes that are no text reported.

Lines end at `\\n` or `\\r\\n` and nowhere else. A bad byte is read as U+FFFD, a NUL is left out, a byte order mark at
the start is no text. There is one line more than there are `\\n` bytes, whatever the bytes are (no invalid sequence
swallows a `\\n`), so lines and byte offsets always agree.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.model import Problem

BOM = b"\xef\xbb\xbf"

PROBLEMS = 1000
"""The most problems of one kind that a note reports: a binary file would have one on every line."""


@dataclass(frozen=True, slots=True)
class Source:
    """The lines of a file, without their ends. `is_clean` says that each byte was text."""

    data: bytes
    lines: list[str]
    is_clean: bool
    problems: tuple[Problem, ...] = ()


def decode(data: bytes) -> Source:
    """The lines of `data`, and a problem for each line with a bad byte or a NUL. Never raises."""
    body = data[3:] if data.startswith(BOM) else data
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        text = body.decode("utf-8", "replace")
        is_clean = False
    else:
        is_clean = "\0" not in text
    problems = () if is_clean else _bad_lines(body)
    return Source(data, _split(text), is_clean, problems)


def text_of(raw: bytes) -> str:
    """A slice of a file's bytes as text, read as `decode` reads it; line ends are `\\n`."""
    text = raw.decode("utf-8", "replace")
    if "\0" in text:
        text = text.replace("\0", "")
    return text.replace("\r\n", "\n") if "\r" in text else text


def _split(text: str) -> list[str]:
    if "\0" in text:
        text = text.replace("\0", "")
    if "\r\n" in text:
        text = text.replace("\r\n", "\n")
    return text.split("\n")


def _bad_lines(body: bytes) -> tuple[Problem, ...]:
    bad: list[Problem] = []
    zero: list[Problem] = []
    for number, line in enumerate(body.split(b"\n"), 1):
        if b"\0" in line and len(zero) < PROBLEMS:
            zero.append(Problem(number, "a NUL byte was left out"))
        if line.isascii() or len(bad) >= PROBLEMS:
            continue
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            bad.append(Problem(number, "a byte that is not UTF-8 was read as U+FFFD"))
    return (*zero, *bad)
