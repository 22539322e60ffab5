"""Where a note is parsed: in this process, as nearly all are, or in a slot, where it can do no harm (engine/slot.py).

In a slot are parsed: notes over `isolate_bytes`; notes that a process did not survive (engine/journal.py); notes that
were set aside for what they hold, wherever they are now; and in programs that stay (`Workspace.isolates`) all of them.
docs/decisions/0015-poison-notes.md says why, tests/fault/test_poison.py that it holds.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property

from holdfast.engine.journal import DEATHS, Journal
from holdfast.engine.record import read_record
from holdfast.engine.slot import SlowError, UnavailableError
from holdfast.engine.slot_child import in_words
from holdfast.engine.workspace import Workspace
from holdfast.errors import HoldfastError, NoteMalformed
from holdfast.index.base import Aside, FileRow, Index, NoteRecord
from holdfast.model import Witness, show_path

PATIENCE_S, PATIENCE_LEAST_S = 1.0, 0.05
"""How long the others wait for a note in a slot: half as long after each that did not answer, so that a thousand bad
notes cost a minute and not an hour. Whoever does not answer is put off, and loses nothing."""

LATE_BYTES = 2 << 20
"""A note that is larger is not even tried before the others."""


@dataclass(frozen=True, slots=True)
class Late:
    """A file that is put off to the end of its pass; `old` is the file that it was before, under another name."""

    witness: Witness
    is_new: bool
    old: FileRow | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """How a note that was put off is tried: for `limit_s`; though it is not due, if `is_forced`; and if `is_brief`, not
    to have answered is no failure yet. With a reason to leave it `untried` it is set aside with that, due at once."""

    limit_s: float
    is_forced: bool = False
    is_brief: bool = False
    untried: str = ""


class Apart:
    """Parses the notes of one pass."""

    def __init__(self, ws: Workspace, index: Index, journal: Journal) -> None:
        self._ws, self._index, self._journal = ws, index, journal
        self._patience_s = PATIENCE_S

    @cached_property
    def aside(self) -> dict[bytes, Aside]:
        """What was set aside when it was first asked for."""
        return {x.key: x for x in self._index.quarantined(sys.maxsize)}

    @cached_property
    def _poison(self) -> set[bytes]:
        """Digests of what was set aside for what it holds; also where another index than the published one is made."""
        found = list(self.aside.values())
        try:
            published = self._ws.index()
            if published is not None and published is not self._index:
                found += published.quarantined(sys.maxsize)
        except HoldfastError as e:
            self._ws.count(f"index_{e.kind}")
        return {x.digest for x in found if x.is_poison}

    def is_waiting(self, key: bytes, digest: bytes, now_ns: int) -> bool:
        """Whether the note is set aside with these very bytes and it is not yet time for the next try."""
        aside = self.aside.get(key)
        return aside is not None and aside.digest == digest and aside.retry_ns > now_ns

    def read(
        self, data: bytes, path: str, key: bytes, digest: bytes, trial: Trial | None = None
    ) -> tuple[NoteRecord, str]:
        """What engine.record.read_record says of a note.

        Raises SlowError where others are not to wait for it, or its `trial` is over; and NoteMalformed where it harms
        who parses it.
        """
        ws, deaths = self._ws, self._journal.suspects.get(key)
        if deaths is None and not self._is_apart(data, key, digest):
            return read_here(data, path, ws.config.chunk_tokens, digest)
        if trial is None and (deaths is not None or len(data) > LATE_BYTES):
            raise SlowError
        aside = self.aside.get(key) if deaths else None
        if deaths and (deaths >= DEATHS or (aside is not None and aside.digest == digest)):
            raise NoteMalformed(f"The process died while it read {show_path(path)}, {deaths} times in a row.")
        limit_s = trial.limit_s if trial is not None else self._patience_s
        try:
            return ws.slots.read(data, path, ws.config.chunk_tokens, digest, limit_s)
        except SlowError:
            if trial is None:
                self._patience_s = max(self._patience_s / 2, PATIENCE_LEAST_S)
            raise
        except UnavailableError:
            ws.count("slot_unavailable")
            if trial is not None:
                self._journal.begin(key, is_trial=True)
            return read_here(data, path, ws.config.chunk_tokens, digest)

    def _is_apart(self, data: bytes, key: bytes, digest: bytes) -> bool:
        if self._ws.isolates or len(data) > self._ws.config.isolate_bytes:
            return True
        aside = self.aside.get(key)
        return (aside is not None and aside.is_poison) or digest in self._poison


def read_here(data: bytes, path: str, chunk_tokens: int, digest: bytes) -> tuple[NoteRecord, str]:
    """What engine.record.read_record says of a note, whose errors are all NoteMalformed here."""
    try:
        return read_record(data, path, chunk_tokens, digest)
    except Exception as e:
        raise NoteMalformed(f"{show_path(path)} could not be parsed: {in_words(e)}.") from e


def read_carefully(ws: Workspace, data: bytes, path: str, digest: bytes) -> NoteRecord:
    """What the index would keep of a note that is asked for outside of a pass, within the patience of who asks."""
    if ws.isolates or len(data) > ws.config.isolate_bytes:
        try:
            return ws.slots.read(data, path, ws.config.chunk_tokens, digest, PATIENCE_S)[0]
        except SlowError as e:
            raise NoteMalformed(f"Parsing {show_path(path)} takes more than {PATIENCE_S:g} s.") from e
        except UnavailableError:
            ws.count("slot_unavailable")
    return read_here(data, path, ws.config.chunk_tokens, digest)[0]


def refuse_poison(ws: Workspace, key: bytes, digest: bytes) -> None:
    """Raise NoteMalformed if these bytes are set aside: who parses them may not live to answer."""
    try:
        index = ws.index()
        aside = index.aside(key) if index is not None else None
    except HoldfastError:
        return  # whoever asks it for more says what is wrong with it
    if aside is not None and aside.digest == digest and aside.is_poison:
        raise NoteMalformed(aside.reason)
