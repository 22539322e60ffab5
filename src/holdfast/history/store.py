"""The store of versions: one SQLite file, written by any process, a transaction a change, durable when it returns.

A note's newest version is kept by itself, each older one against the one after it, with one by itself every 64. What is
recorded twice (a sync that meets what a write has just made) is one entry. Deleted bytes are overwritten
(`secure_delete`), so that what is forgotten is gone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import apsw

from holdfast.errors import DiskFull, IndexDamaged, IndexTooNew, NotFound, ResourceFault, VaultBusy
from holdfast.history.pack import DamagedVersionError, is_alone, pack, unpack
from holdfast.history.patience import Patience
from holdfast.history.rows import By, Change, Entry, Kind, digest_of

APPLICATION_ID = 0x484F4C48
FORMAT = 1
_KEY_EVERY = 64
_PAGE = 500


class History:
    """An open store. For one thread at a time; several processes and objects on one file are normal."""

    def __init__(self, path: str) -> None:
        """Open the store at `path`, or make it. Raises IndexDamaged, IndexTooNew and the resource faults."""
        self.path = path
        with self._translated():
            self._db = apsw.Connection(path)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _prepare(self) -> None:
        db = self._db
        db.set_busy_handler(Patience())
        db.pragma("auto_vacuum", 2)  # incremental; takes effect in a file that has no table yet
        db.pragma("trusted_schema", 0)
        db.pragma("cell_size_check", 1)
        db.pragma("mmap_size", 0)
        if db.pragma("user_version") == 0:
            with self._immediate():
                if db.pragma("user_version") == 0:
                    for statement in _statements():
                        db.execute(statement)
                    db.pragma("application_id", APPLICATION_ID)
                    db.pragma("user_version", FORMAT)
        if db.pragma("application_id") != APPLICATION_ID:
            raise IndexDamaged(f"{self.path} is no history.", hint="Move it away; a new one is begun.")
        if db.pragma("user_version") > FORMAT:
            raise IndexTooNew(f"The history {self.path} was made by a newer Holdfast.", hint="Upgrade Holdfast.")
        db.pragma("journal_mode", "WAL")
        # FULL: who was told that a change is kept must find it after a power cut (one fsync a change).
        db.pragma("synchronous", 2)
        db.pragma("secure_delete", 1)
        db.pragma("wal_autocheckpoint", 100)
        db.pragma("journal_size_limit", 0)
        db.pragma("cache_size", -2_048)

    def record(self, changes: Sequence[Change]) -> list[int]:
        """Keep these changes, in one transaction; the seq of each, or of the entry that has it already."""
        with self._translated(), self._immediate():
            return [self._record(c) for c in changes]

    def _record(self, change: Change) -> int:
        note = self._note(change.old_path or change.path)
        last = self._last(note) if note is not None else None
        if change.kind is Kind.MOVED and change.body is None:
            return self._move(change, note, last)
        digest = digest_of(change.body) if change.body is not None else None
        if last is not None and last.digest == digest and not change.old_path:
            if last.kind in (Kind.FOUND, Kind.GONE) and change.kind not in (Kind.FOUND, Kind.GONE):
                self._claim(last.seq, change)  # A sync of another process was quicker than who made it.
            if last.kind in (Kind.FOUND, Kind.GONE) or change.kind in (Kind.FOUND, Kind.GONE):
                return last.seq
        if note is None and change.kind is Kind.GONE:
            return 0  # Of what was never known it need not be known that it is gone.
        if note is None:
            self._db.execute("insert into note (path) values (?)", (_raw(change.path),))
            note = self._db.last_insert_rowid()
        elif change.old_path:
            self._db.execute("update note set path = ? where id = ?", (_raw(change.path), note))
        content = self._content(change.body, digest, last) if change.body is not None and digest is not None else None
        self._insert(note, change, content)
        return self._db.last_insert_rowid()

    def _move(self, change: Change, note: int | None, last: Entry | None) -> int:
        """A note that only has another path; nothing where it is not known, or was found to have moved already."""
        known = self._note(change.path)
        if note is None or last is None or (known is not None and known != note and self._last(known) is not None):
            return 0
        self._db.execute("update note set path = ? where id = ?", (_raw(change.path), note))
        row = self._maybe("select id from content where digest = ?", (last.digest,)) if last.digest else None
        self._insert(note, change, row[0] if row else None)
        return self._db.last_insert_rowid()

    def _insert(self, note: int, change: Change, content: int | None) -> None:
        self._db.execute(
            "insert into entry (note, kind, time_ns, path, content, author, session, reason) values (?,?,?,?,?,?,?,?)",
            (note, int(change.kind), change.time_ns, _raw(change.path), content, *self._words(change.by)),
        )

    def _claim(self, seq: int, change: Change) -> None:
        self._db.execute(
            "update entry set kind = ?, author = ?, session = ?, reason = ? where seq = ?",
            (int(change.kind), *self._words(change.by), seq),
        )

    def _words(self, by: By) -> tuple[int | None, int | None, int | None]:
        author, session, reason = (self._word(t) for t in (by.author, by.session, by.reason))
        return author, session, reason

    def _word(self, text: str) -> int | None:
        if not text:
            return None
        self._db.execute("insert or ignore into word (text) values (?)", (text,))
        return int(self._one("select id from word where text = ?", (text,))[0])

    def _content(self, body: bytes, digest: bytes, last: Entry | None) -> int:
        """The id of this content, stored by itself if it is new; then the one before it is packed against it."""
        row = self._maybe("select id from content where digest = ?", (digest,))
        if row is not None:
            return int(row[0])
        self._db.execute(
            "insert into content (digest, base, size, data) values (?, null, ?, ?)", (digest, len(body), pack(body))
        )
        new = self._db.last_insert_rowid()
        if last is not None and last.digest is not None:
            self._lean(last.digest, new, body)
        return new

    def _lean(self, digest: bytes, base: int, body: bytes) -> None:
        """Pack an older content that stands by itself against a newer one, but for one in so many."""
        id_, data = self._one("select id, data from content where digest = ?", (digest,))
        if not is_alone(data) or id_ % _KEY_EVERY == 0:
            return
        packed = pack(self._unpacked(id_), body)
        if not is_alone(packed):
            self._db.execute("update content set base = ?, data = ? where id = ?", (base, packed, id_))

    def body(self, digest: bytes) -> bytes:
        """What a note held when it had this digest. Raises NotFound, IndexDamaged."""
        with self._translated():
            row = self._maybe("select id from content where digest = ?", (digest,))
            if row is None:
                raise NotFound(
                    "This version is not kept any more.", hint="`holdfast history NOTE` lists those that are."
                )
            body = self._unpacked(int(row[0]))
        if digest_of(body) != digest:
            raise IndexDamaged(f"A version in {self.path} is damaged.", hint="Other versions may be whole.")
        return body

    def _unpacked(self, id_: int) -> bytes:
        chain: list[bytes] = []
        at: int | None = id_
        while at is not None:
            row = self._maybe("select base, data from content where id = ?", (at,))
            if row is None or len(chain) > 1_000_000:
                raise DamagedVersionError("what it was packed against is missing")
            chain.append(row[1])
            at = row[0]
        body = unpack(chain.pop())
        while chain:
            body = unpack(chain.pop(), body)
        return body

    def note_of(self, path: str) -> int | None:
        """The id of the note that has this path now, or had it last; None if none ever had."""
        with self._translated():
            return self._note(path)

    def _note(self, path: str) -> int | None:
        row = self._maybe("select id from note where path = ? order by id desc limit 1", (_raw(path),))
        return int(row[0]) if row is not None else None

    def notes_of(self, path: str) -> list[int]:
        """The ids of all notes that have this path, or ever had it."""
        with self._translated():
            rows = self._db.execute(
                "select id from note where path = ? union select note from entry where path = ?", [_raw(path)] * 2
            )
            return [note for (note,) in rows]

    def digests(self) -> list[bytes]:
        """The digests of all contents that are kept."""
        with self._translated():
            return [bytes(digest) for (digest,) in self._db.execute("select digest from content")]

    def last(self, path: str) -> Entry | None:
        """The newest entry of the note at `path`."""
        with self._translated():
            note = self._note(path)
            return self._last(note) if note is not None else None

    def _last(self, note: int) -> Entry | None:
        return next(self._entries("e.note = ?", (note,), "e.seq desc", 1), None)

    def versions(self, note: int, *, before: int = 0, limit: int = 50) -> list[Entry]:
        """Entries of a note, newest first; those before the seq `before`, if given."""
        with self._translated():
            where = "e.note = ? and (? = 0 or e.seq < ?)"
            return list(self._entries(where, (note, before, before), "e.seq desc", limit))

    def at(self, note: int, time_ns: int) -> Entry | None:
        """The entry that stood at this time; None if the history of the note begins later."""
        with self._translated():
            return next(self._entries("e.note = ? and e.time_ns <= ?", (note, time_ns), "e.seq desc", 1), None)

    def entry(self, seq: int) -> Entry | None:
        """The entry with this seq."""
        with self._translated():
            return next(self._entries("e.seq = ?", (seq,), "e.seq", 1), None)

    def before(self, entry: Entry) -> Entry | None:
        """The entry of the same note before this one."""
        with self._translated():
            return next(self._entries("e.note = ? and e.seq < ?", (entry.note, entry.seq), "e.seq desc", 1), None)

    def recent(
        self, *, since_ns: int = 0, author: str = "", session: str = "", before: int = 0, limit: int = 50
    ) -> list[Entry]:
        """Entries of all notes, newest first; first sights of a note by a sync are left out."""
        where, args = ["e.time_ns >= ?", "(? = 0 or e.seq < ?)"], [since_ns, before, before]
        for column, text in (("author", author), ("session", session)):
            if text:
                where.append(f"e.{column} = (select id from word where text = ?)")
                args.append(text)  # type: ignore[arg-type]
        # A first sight is no change; it only says what there was.
        where.append("not (e.kind = 0 and not exists (select 1 from entry p where p.note = e.note and p.seq < e.seq))")
        with self._translated():
            return list(self._entries(" and ".join(where), tuple(args), "e.seq desc", limit))

    def of_session(self, session: str) -> list[Entry]:
        """All entries of a session, newest first."""
        where = "e.session = (select id from word where text = ?)"
        with self._translated():
            return list(self._entries(where, (session,), "e.seq desc", -1))

    def everything(self, after: int = 0) -> Iterator[Entry]:
        """All entries in order, page by page."""
        while True:
            with self._translated():
                page = list(self._entries("e.seq > ?", (after,), "e.seq", _PAGE))
            yield from page
            if not page:
                return
            after = page[-1].seq

    def _entries(self, where: str, args: tuple[Any, ...], order: str, limit: int) -> Iterator[Entry]:
        rows = self._db.execute(
            "select e.seq, e.note, e.kind, e.time_ns, e.path, c.digest, c.size, a.text, s.text, r.text from entry e"
            " left join content c on c.id = e.content left join word a on a.id = e.author"
            f" left join word s on s.id = e.session left join word r on r.id = e.reason where {where} order by {order}"
            " limit ?",
            (*args, limit),
        )
        for seq, note, kind, time_ns, path, digest, size, author, session, reason in rows:
            by = By(author or "", session or "", reason or "")
            yield Entry(seq, note, Kind(kind), time_ns, os.fsdecode(path), digest, size or 0, by)

    def counts(self) -> tuple[int, int]:
        """(bytes of the file and its log, number of entries)."""
        size = sum(os.stat(p).st_size for p in (self.path, f"{self.path}-wal") if os.path.exists(p))
        with self._translated():
            return size, int(self._one("select count(*) from entry", ())[0])

    def drop(self, seqs: Sequence[int]) -> None:
        """Remove these entries, and contents that no entry has any more; what leans on those is packed anew."""
        with self._translated(), self._immediate():
            for seq in seqs:
                row = self._maybe("select content, note from entry where seq = ?", (seq,))
                self._db.execute("delete from entry where seq = ?", (seq,))
                if row is not None and row[0] is not None:
                    self._release(row[0])
            self._db.execute("delete from note where not exists (select 1 from entry where note = note.id)")
            self._db.execute(
                "delete from word where not exists (select 1 from entry where word.id in (author, session, reason))"
            )

    def _release(self, content: int) -> None:
        if self._maybe("select 1 from entry where content = ?", (content,)) is not None:
            return
        (base,) = self._one("select base from content where id = ?", (content,))
        for (leaning,) in list(self._db.execute("select id from content where base = ?", (content,))):
            body = self._unpacked(leaning)
            data = pack(body, self._unpacked(base)) if base is not None else pack(body)
            against = None if is_alone(data) else base
            self._db.execute("update content set base = ?, data = ? where id = ?", (against, data, leaning))
        self._db.execute("delete from content where id = ?", (content,))

    def old(self, before_ns: int, limit: int) -> list[int]:
        """The oldest entries from before a time that may go: a note's newest stays, and what a deletion took."""
        with self._translated():
            rows = self._db.execute(
                "select e.seq from entry e where e.time_ns < ? and exists"
                " (select 1 from entry n where n.note = e.note and n.seq > e.seq and n.content is not null)"
                " order by e.seq limit ?",
                (before_ns, limit),
            )
            return [seq for (seq,) in rows]

    def live_bytes(self) -> int:
        """Bytes of pages that hold something."""
        with self._translated():
            pages, free = self._db.pragma("page_count"), self._db.pragma("freelist_count")
            return int((pages - free) * self._db.pragma("page_size"))

    def give_back(self) -> None:
        """Give free pages back to the disk, and empty the log."""
        with self._translated():
            self._rows("pragma incremental_vacuum")
            self._rows("pragma wal_checkpoint(truncate)")

    def shrink(self) -> None:
        """Write the file anew without what was removed, and empty its log."""
        with self._translated():
            self._db.execute("vacuum")
            self._rows("pragma wal_checkpoint(truncate)")

    def backup(self, path: str) -> None:
        """A copy of the store at `path`, whole at one moment."""
        with self._translated(), apsw.Connection(path) as copy, copy.backup("main", self._db, "main") as work:
            while not work.done:
                work.step(1_000)

    @contextmanager
    def _immediate(self) -> Iterator[None]:
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")

    def _one(self, statement: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        row = self._maybe(statement, args)
        if row is None:
            raise DamagedVersionError("a row is missing")
        return row

    def _maybe(self, statement: str, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        rows = self._rows(statement, args)
        return rows[0] if rows else None

    def _rows(self, statement: str, args: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows: what is not fetched to its end is not done."""
        return list(self._db.execute(statement, args))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except apsw.FullError as e:
            raise DiskFull("The disk of the history is full.") from e
        except apsw.BusyError as e:
            raise VaultBusy("Another process is at work on the history.") from e
        except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError, apsw.IOError) as e:
            raise ResourceFault(
                f"The history {self.path} cannot be used: {e}.", hint="Check its folder and the disk."
            ) from e
        except (apsw.CorruptError, apsw.NotADBError, DamagedVersionError, apsw.SQLError) as e:
            raise IndexDamaged(
                f"The history {self.path} is damaged: {e}.",
                hint="Move it away; a new one is begun, and no note is touched.",
            ) from e


def _raw(path: str) -> bytes:
    return os.fsencode(path)


def _statements() -> list[str]:
    text = files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    bare = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    return [s for s in (part.strip() for part in bare.split(";")) if s]
