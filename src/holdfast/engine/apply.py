"""Bring files that differ into the index, batch by batch: read, parse, chunk, one transaction.

Bytes in flight are bounded, not files. A file is proven by its stat only if the stat is older than the look at it;
what is not is stored with the time of the look (`racy_ns`) and read again by the next sync.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from holdfast.engine.apart import Apart, Late, Trial
from holdfast.engine.counts import Counts
from holdfast.engine.diff import is_note_key
from holdfast.engine.journal import Journal
from holdfast.engine.record import unread_record
from holdfast.engine.slot import SlowError
from holdfast.engine.workspace import Workspace
from holdfast.errors import NoteError, NoteMalformed, NoteTooLarge
from holdfast.files import notes
from holdfast.files.conflicts import conflict_of
from holdfast.files.look import look_at
from holdfast.files.mounts import grain_ns
from holdfast.files.spelling import Spelling
from holdfast.files.wide import Pool, each
from holdfast.history.rows import Change, Kind
from holdfast.index.base import NEVER_NS, FileRow, Index, NoteRecord, Tx
from holdfast.model import Witness, key_path, show_path

A = TypeVar("A")
B = TypeVar("B")


# Fewer files than this are looked up one by one.
MOVED_TOGETHER = 4

RETRY_S = (60, 300, 3_600, 86_400)
"""How long a note that was set aside waits for the next try, by how often it was tried; the last holds from then on."""


@dataclass(slots=True)
class _Item:
    """One file on its way into the index: what the walk saw, what the index knew, what was read."""

    witness: Witness
    known: FileRow | None
    body: notes.NoteBytes | None = None
    problem: NoteError | None = None
    gone: bool = False
    record: NoteRecord | None = None
    cut: str = ""
    old: FileRow | None = None
    kept: bytes | None = None
    """What it holds now, for the history."""
    is_put_off: bool = False
    is_due: bool = False
    """Though it failed, it is to be tried again at once."""


class Apply:
    """Applies differences to `index`. `known_grain_ns`: the grain of file times, 0 if unknown; `pool` reads abreast.

    What could hold up others is not waited for: it goes into `late` (engine/late.py).
    """

    def __init__(self, ws: Workspace, index: Index, known_grain_ns: int, pool: Pool | None, journal: Journal) -> None:
        self._fs, self._root, self._config, self._index, self._count = ws.fs, ws.root, ws.config, index, ws.count
        self._inode_mask, self._grain_ns, self.pool = ws.inode_mask, known_grain_ns, pool
        self._may_move = index.counts().files > 0
        self._journal, self._apart = journal, Apart(ws, index, journal)
        self.spelling = Spelling(ws.fs, ws.root)
        self.counts = Counts()
        self._past = ws.past if ws.past.is_on and index.generation > 0 else None
        self.late: list[Late] = []
        self.set_aside: set[bytes] = set()
        self.checksum = self._is_forced = False

    def files(self, witnesses: Iterable[Witness], *, is_new: bool) -> None:
        """Bring these files in; `is_new` if the index has none of them."""
        for batch in self._batches(witnesses):
            self._apply(batch, is_new)

    def move_directory(self, prefix: bytes, files: list[Witness]) -> bool:
        """Take a new directory as an old one under another name, if it holds exactly the same files: one statement.

        Names, sizes, times and inodes of all its files are as they were and the old directory is gone, as a rename
        leaves them; so nothing is read, and nothing but paths changes.
        """
        if not self._may_move or len(files) < MOVED_TOGETHER:
            return False
        start = len(prefix)
        for row in self._index.find_moved(files[0]):
            old = row.witness[0][: -len(files[0][0][start:])]
            expected = [(old + w[0][start:], *w[1:]) for w in files]
            if old == prefix or not self._apart.aside.keys().isdisjoint(w[0] for w in expected):
                continue
            if self._index.file_range(old) == expected and self._is_absent(_directory_key(old)):
                with self._index.begin() as tx:
                    tx.move_directory(old, prefix)
                self._remember(self._moved(e[0], w[0]) for e, w in zip(expected, files, strict=True))
                self.counts.moved_from.update(w[0] for w in expected)
                self.counts.moved += sum(is_note_key(w[0]) for w in files)
                return True
        return False

    def remove(self, keys: Iterable[bytes]) -> None:
        """Take these out, each after proof that its file is gone or none of the vault's any more."""
        keys = [k for k in keys if k not in self.counts.moved_from]
        for at in range(0, len(keys), self._config.batch_notes):
            part = keys[at : at + self._config.batch_notes]
            absent = self.each(part, self._is_out)
            with self._index.begin(grows=False) as tx:
                for key, is_absent in zip(part, absent, strict=True):
                    if is_absent:
                        tx.delete_file(key)
                        self.counts.removed += is_note_key(key)
                    else:
                        self.counts.skip("unverified", key_path(key))
            gone = [k for k, is_absent in zip(part, absent, strict=True) if is_absent and is_note_key(k)]
            self._remember(Change(Kind.GONE, key_path(k), None, self._fs.time_ns()) for k in gone)

    def drop(self, keys: Iterable[bytes]) -> None:
        """Take these out although their files are there: ignore rules exclude them now."""
        keys = list(keys)
        if not keys:
            return
        with self._index.begin(grows=False) as tx:
            for key in keys:
                tx.delete_file(key)
                self.counts.removed += is_note_key(key)

    def scrub(self, witnesses: Iterable[Witness]) -> None:
        """Hash files whose stat is unchanged, and bring in those whose bytes are not."""
        self.checksum = True
        try:
            self.files(witnesses, is_new=False)
        finally:
            self.checksum = False

    def reread(self, witnesses: Iterable[Witness]) -> None:
        """Bring these files in again, whatever their stat and digest: what the index keeps of them is not trusted."""
        self._is_forced = True
        try:
            self.scrub(witnesses)
        finally:
            self._is_forced = False

    def _batches(self, witnesses: Iterable[Witness]) -> Iterator[list[Witness]]:
        batch: list[Witness] = []
        size = 0
        for witness in witnesses:
            batch.append(witness)
            size += min(witness[1], self._config.note_bytes)
            if size >= self._config.batch_bytes or len(batch) >= self._config.batch_notes:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def one(self, late: Late, trial: Trial) -> bool:
        """Bring in a file that was put off, by itself; whether it did not fail."""
        look_ns = self._fs.time_ns()
        item = _Item(late.witness, None if late.is_new else self._index.file_row(late.witness[0]), old=late.old)
        self._journal.begin()  # in a slot it harms nobody
        self.counts.files_read += self._read(item).body is not None
        if trial.untried:
            item.problem, item.is_due = NoteMalformed(trial.untried), True
        else:
            self._look_closer(item, late.is_new, look_ns, trial)
        self._journal.begin(late.witness[0], is_trial=True)
        with self._index.begin() as tx:
            self._store(tx, item, look_ns)
        self._journal.settle(late.witness[0])
        if item.problem is not None and late.old is not None:
            # It cannot be told any more that it moved: what it was is gone.
            self.counts.moved_from.discard(late.old.witness[0])
            self.remove([late.old.witness[0]])
        return item.problem is None

    def _apply(self, batch: list[Witness], is_new: bool) -> None:
        look_ns = self._fs.time_ns()
        self._grain_ns = self._grain_ns or grain_ns(w[3] for w in batch)
        items = [_Item(w, None if is_new else self._index.file_row(w[0])) for w in batch]
        if is_new and self._may_move:
            for item in items:
                item.old = self._moved_by_stat(item.witness)
        reading = [x for x in items if x.old is None and is_note_key(x.witness[0])]
        self._journal.begin(*(x.witness[0] for x in reading))
        for item in self.each(reading, self._read):
            self.counts.files_read += item.body is not None
        for item in reading:
            self._look_closer(item, is_new, look_ns)
        storing = [item for item in items if not item.is_put_off]
        before = self.counts.numbers()
        try:
            with self._index.begin() as tx:
                for item in storing:
                    self._store(tx, item, look_ns)
        except BaseException:
            # Nothing of it was stored.
            self.counts.take_back(before)
            self.counts.moved_from -= {item.old.witness[0] for item in items if item.old is not None}
            raise
        for item in storing:
            self._journal.settle(item.witness[0])
        self._remember(change for item in storing for change in self._seen(item, look_ns))

    def _seen(self, item: _Item, look_ns: int) -> Iterator[Change]:
        """What the history is told of a file that was brought in: that it moved, and what it holds now."""
        key = item.witness[0]
        if item.old is not None and is_note_key(key):
            yield self._moved(item.old.witness[0], key)
        if item.kept is not None and not item.gone:
            yield Change(Kind.FOUND, key_path(key), item.kept, look_ns)

    def _moved(self, old: bytes, new: bytes) -> Change:
        return Change(Kind.MOVED, key_path(new), None, self._fs.time_ns(), old_path=key_path(old))

    def _remember(self, changes: Iterable[Change]) -> None:
        if self._past is not None:
            self._past.found(list(changes))

    def _read(self, item: _Item) -> _Item:
        path = key_path(item.witness[0])
        try:
            item.body = notes.read_note(
                self._fs, self._root, path, max_bytes=self._config.note_bytes, size=item.witness[1]
            )
            item.witness = (*item.body.witness[:4], item.body.witness[4] & self._inode_mask)
        except FileNotFoundError:
            item.gone = True
        except NoteError as e:
            item.problem = e
        return item

    def _look_closer(self, item: _Item, is_new: bool, look_ns: int, trial: Trial | None = None) -> None:
        """Parse what was read, unless its bytes are known; find out whether it is an old note under a new name.

        Without a `trial`, a note that others should not wait for is put off.
        """
        body, known, key = item.body, item.known, item.witness[0]
        if body is None or (not (trial and trial.is_forced) and self._apart.is_waiting(key, body.digest, look_ns)):
            return
        is_trusted = key not in self._apart.aside and not self._is_forced
        if known is not None and known.digest == body.digest and is_trusted:
            return
        path = key_path(key)
        item.kept = body.data if self._past is not None else None
        try:
            item.record, item.cut = self._apart.read(body.data, path, key, body.digest, trial)
        except SlowError:
            if trial is None:
                item.is_put_off = True
                old = self._take(self._index.find_digest(body.digest)) if is_new and self._may_move else None
                self.late.append(Late(item.witness, is_new, old))
                return
            item.is_due = trial.is_brief
            item.problem = NoteMalformed(f"Parsing {show_path(path)} took more than {trial.limit_s:g} s.")
        except NoteMalformed as e:
            item.problem = e
        item.body = notes.NoteBytes(b"", body.digest, body.witness)
        if item.record is None:
            self.counts.skip("parser_failed", path)
        elif is_new and self._may_move and item.old is None:
            item.old = self._take(self._index.find_digest(body.digest)) or self._take(
                self._index.find_similar((c.digest for c in item.record.chunks), self._config.move_share)
            )

    def _moved_by_stat(self, witness: Witness) -> FileRow | None:
        """The file that this one was before its folder was renamed: times and inode stayed, so nothing is read."""
        name = witness[0].rpartition(b"\0")[2]
        rows = [r for r in self._index.find_moved(witness) if r.witness[0].rpartition(b"\0")[2] == name]
        return self._take(r for r in rows if not r.racy_ns and r.witness[0] not in self._apart.aside)

    def _take(self, rows: Iterable[FileRow]) -> FileRow | None:
        """The first of `rows` whose file is gone from where it was and not yet found elsewhere."""
        for row in rows:
            key = row.witness[0]
            if key not in self.counts.moved_from and self._is_absent(key):
                self.counts.moved_from.add(key)
                return row
        return None

    def _is_absent(self, key: bytes) -> bool:
        path = key_path(key)
        try:
            self._fs.lstat(f"{self._root}/{path}")
            return bool(path) and not self.spelling.is_exact(path)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False

    def _is_out(self, key: bytes) -> bool:
        """Whether the file is gone, or is there and is none of the vault's any more (ignored, hidden, no file)."""
        if self._is_absent(key):
            return True
        try:
            return look_at(self._fs, self._root, key_path(key)) is None
        except OSError:
            return False

    def _store(self, tx: Tx, item: _Item, look_ns: int) -> None:
        key, counts = item.witness[0], self.counts
        if item.gone or tx.witness(key) != (item.known.witness if item.known else None):
            # The next walk sees that it is not there; or another process has stored it since we looked, and what we
            # read may be older than that.
            return
        if not is_note_key(key):
            if item.old is not None:
                tx.move_file(item.old.witness[0], item.witness, 0)
            else:
                tx.set_file(item.witness, 0)
            return
        racy_ns = self._racy(item, look_ns)
        if item.problem is not None:
            self._set_aside(tx, item, look_ns)
        elif item.record is not None:
            assert item.body is not None
            tx.replace_note(item.witness, racy_ns, item.record, item.old.id if item.old else None)
            if item.cut:
                tx.quarantine(key, item.cut, look_ns, NEVER_NS, item.body.digest)
            before = item.known.digest if item.known else None
            if before == item.body.digest:
                counts.unchanged += not self.checksum
                return
            if before is None and conflict_of(key_path(key).rpartition("/")[2]):
                counts.explain("conflict_copy", key_path(key))
            counts.moved += item.old is not None
            counts.changed += before is not None
            counts.unchanged -= self.checksum  # it had passed for unchanged by its stat
            counts.added += item.old is None and before is None
        elif item.old is not None:
            tx.move_file(item.old.witness[0], item.witness, 0)
            counts.moved += 1
        else:
            if item.known is None or item.known.witness != item.witness or item.known.racy_ns != racy_ns:
                tx.set_file(item.witness, racy_ns)
            counts.unchanged += not self.checksum

    def _set_aside(self, tx: Tx, item: _Item, look_ns: int) -> None:
        key, problem = item.witness[0], item.problem
        assert problem is not None
        self.counts.skip(problem.kind, key_path(key))
        self.set_aside.add(key)
        if isinstance(problem, NoteTooLarge):
            # Told by the stat, at no cost: each sync looks again, for the limit may be raised.
            tx.replace_note(item.witness, look_ns, unread_record(key_path(key)), None)
            tx.quarantine(key, problem.message, look_ns, NEVER_NS)
            return
        # The cause may end by itself: it is tried again after a while, and at once when the file changes.
        digest = item.body.digest if item.body is not None else b""
        before = self._index.aside(key)
        tries = before.tries if before is not None and before.digest == digest else 0
        wait_s = 0 if item.is_due else RETRY_S[min(tries, len(RETRY_S) - 1)]
        tx.set_file(item.witness, self._racy(item, look_ns))
        tx.quarantine(key, problem.message, look_ns, look_ns + wait_s * 10**9, digest)

    def _racy(self, item: _Item, look_ns: int) -> int:
        """0 if the witness proves the bytes that were read, else the time of the look.

        A change after the look gives a newer ctime, visible unless both fall into one grain of the clock. So the
        ctime must be older than the look by more than a grain; or the same stat was seen by an earlier look that was
        itself more than a grain ago (which proves it whatever the two clocks say). Test: fault/test_racy.py.
        """
        newest = item.witness[3] if os.name == "posix" else max(item.witness[2], item.witness[3])
        if newest < look_ns - self._grain_ns:
            return 0
        known = item.known
        if known is not None and known.racy_ns and known.witness == item.witness:
            waited = look_ns - known.racy_ns
            return 0 if waited > self._grain_ns else known.racy_ns
        return look_ns

    def each(self, items: Sequence[A], call: Callable[[A], B]) -> list[B]:
        """The results of `call` in order, side by side on a slow mount."""
        return each(self.pool, items, call, self._count)


def _directory_key(prefix: bytes) -> bytes:
    """The sort key under which the directory itself would be a file; the root's is empty."""
    head, _, name = prefix[:-2].rpartition(b"\0")
    return head + b"\0\0" + name if head else b"\0" + name
