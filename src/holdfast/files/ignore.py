"""Which names a vault's `.gitignore` and `.holdfastignore` files exclude.

As in git: a file's patterns are relative to its folder, the last match in a file counts, a deeper file overrides a
higher one, `!` takes back, and nothing below an excluded folder is looked at. `.holdfastignore` comes after the
`.gitignore` of the same folder. Unlike git, `?` and `[...]` stand for a character, not for a byte.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from hashlib import blake2b

from holdfast.files.fs import NO_DESCRIPTOR, FileSystem
from holdfast.files.glob import Pattern, parse_line

IGNORE_FILES = (".gitignore", ".holdfastignore")
IGNORE_BYTES = 256 << 10
PATTERNS = 5000


class Spec:
    """The patterns of one folder, compiled."""

    __slots__ = ("_names", "_paths", "_patterns")

    def __init__(self, patterns: list[Pattern]) -> None:
        self._patterns = [(re.compile(p.source), p.is_name, not p.is_negated) for p in reversed(patterns)]
        # Most names match nothing, so one expression for all patterns answers for most of them.
        self._names = _any_of([p.source for p in patterns if p.is_name])
        self._paths = _any_of([p.source for p in patterns if not p.is_name])

    def verdict(self, path: str, name: str) -> bool | None:
        """Whether `path` is excluded, or None if no pattern is about it. A directory's path and name end with `/`."""
        if not (self._names and self._names.match(name)) and not (self._paths and self._paths.match(path)):
            return None
        for pattern, is_name, verdict in self._patterns:
            if pattern.match(name if is_name else path):
                return verdict
        return None


def _any_of(sources: list[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(f"(?:{source})" for source in sources)) if sources else None


class Rules:
    """All patterns that are about the names in one directory."""

    __slots__ = ("_folder", "_specs")

    def __init__(self, folder: str, specs: tuple[tuple[int, Spec], ...]) -> None:
        self._folder = folder
        self._specs = specs  # deepest first, each with the length of its folder's path and slash

    def ignores(self, name: str, *, is_dir: bool = False) -> bool:
        """Whether the file (or directory) `name` of this directory is excluded."""
        shown = name + "/" if is_dir else name
        path = self._folder + shown
        for cut, spec in self._specs:
            if (verdict := spec.verdict(path[cut:], shown)) is not None:
                return verdict
        return False

    def below(self, folder: str, spec: Spec | None = None) -> Rules:
        """The rules for `folder`, which may have a `spec` of its own."""
        return _rules(folder, self._specs, spec)


def _rules(folder: str, specs: tuple[tuple[int, Spec], ...], spec: Spec | None) -> Rules:
    prefix = folder + "/" if folder else ""
    return Rules(prefix, ((len(prefix), spec), *specs) if spec else specs)


@dataclass(frozen=True, slots=True)
class Own:
    """The ignore files of one folder: their patterns, digest, what was opened, and what could not be read."""

    spec: Spec | None
    digest: str
    opens: int
    problems: list[tuple[str, OSError]]


def rules_for(folder: str, above: Rules | None, spec: Spec | None) -> Rules | None:
    """The rules for the names in `folder`, or None if there are none at all."""
    if above is not None:
        return above.below(folder, spec)
    return _rules(folder, (), spec) if spec else None


def read_own(fs: FileSystem, full: str, names: list[str]) -> Own:
    """The ignore files `names` of the folder at `full`; what cannot be read is reported and counts as empty.

    Raises OSError where no descriptor is left: that is no property of the file.
    """
    digest = blake2b(digest_size=16)
    patterns: list[Pattern] = []
    problems: list[tuple[str, OSError]] = []
    opens = 0
    for name in sorted(names):
        digest.update(name.encode() + b"\0")
        try:
            data = _read(fs, f"{full}/{name}")
            opens += 1
        except OSError as e:
            if e.errno in NO_DESCRIPTOR:
                raise
            problems.append((name, e))
            digest.update(b"unreadable\0")
            continue
        digest.update(len(data).to_bytes(8, "big") + data)
        patterns += [p for line in _lines(data) if (p := parse_line(line))]
    if len(patterns) > PATTERNS:
        problems.append((sorted(names)[-1], OSError(f"more than {PATTERNS} patterns; the rest is left out")))
    return Own(Spec(patterns[:PATTERNS]) if patterns else None, digest.hexdigest(), opens, problems)


def _read(fs: FileSystem, path: str) -> bytes:
    fd = fs.open_read(path)
    try:
        size = fs.fstat(fd).st_size
        if size > IGNORE_BYTES:
            raise OSError(f"more than {IGNORE_BYTES} bytes")
        return fs.read_all(fd, size)
    finally:
        fs.close(fd)


def _lines(data: bytes) -> list[str]:
    text = os.fsdecode(data.removeprefix(b"\xef\xbb\xbf"))
    return [line.removesuffix("\r") for line in text.split("\n")]
