"""The half of the facade that changes notes and asks for their past; `Vault` is the whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from holdfast.changes import Difference, Exported, Forgotten, Moved, Remembered, Undone, Versions, Written
from holdfast.engine import versions, write
from holdfast.engine.edits import Edit, maker
from holdfast.engine.read import find_exact, usable
from holdfast.engine.write import Secrets, Terms, digest_from
from holdfast.errors import Conflict, QueryError
from holdfast.files.paths import safe_path
from holdfast.history.rows import By

if TYPE_CHECKING:
    from holdfast.engine.workspace import Workspace


class Writing:
    """Verbs of `Vault` that write. Each takes who (`author`), in which `session`, and why (`reason`)."""

    _ws: Workspace

    def write(
        self,
        path: str,
        text: str | bytes,
        *,
        expect: str | None = None,
        overwrite: bool = False,
        merge: bool = False,
        secrets: Secrets = "refuse",
        author: str = "",
        session: str = "",
        reason: str = "",
    ) -> Written:
        """Make `text` the content of the note at `path`: on disk when this returns, and found by its words.

        A note that is there is replaced only with `expect`, the digest that it must have, or `overwrite`. With
        `expect` and `merge`, what others wrote since is merged in where that is clean. Keys and passwords that are new
        in it are refused, masked or allowed (`secrets`: refuse, redact, allow). Raises Conflict, SecretFound,
        PathNotAllowed, QueryError, DiskFull; the note is unchanged then.
        """
        body = _utf8(text)
        where, terms = safe_path(self._ws.root, path), _terms(expect, merge, author, session, reason, secrets)
        if terms.expect is None and not overwrite:
            try:
                return write.create(self._ws, where, body, terms.by, secrets=secrets)
            except Conflict as e:
                raise Conflict(
                    e.message, hint="Add --overwrite, or --expect with the digest that you have read.",
                    current_digest=e.current_digest, diff=e.diff,
                ) from e  # fmt: skip
        return write.put(self._ws, where, body, terms)

    def edit(
        self,
        note: str,
        *,
        append: str | None = None,
        prepend: str | None = None,
        replace: tuple[str, str] | None = None,
        count: int | None = None,
        section: tuple[str, str] | None = None,
        append_to_section: bool = False,
        insert_before: tuple[str, str] | None = None,
        insert_after: tuple[str, str] | None = None,
        fields: Mapping[str, object] | None = None,
        expect: str | None = None,
        merge: bool = False,
        secrets: Secrets = "refuse",
        author: str = "",
        session: str = "",
        reason: str = "",
    ) -> Written:
        """Change a part of a note; everything else stays, byte for byte.

        Without `expect` the edit is made on what the note holds at that moment, and again if others write meanwhile.
        Raises NotFound, Conflict, and QueryError where the edit does not apply (docs/interface.md has them all).
        """
        make = maker(
            Edit(append, prepend, replace, count, section, append_to_section, insert_before, insert_after, fields)
        )
        terms = _terms(expect, merge, author, session, reason, secrets)
        return write.change(self._ws, self._path(note), make, terms)

    def remember(
        self,
        text: str,
        *,
        to: str = "",
        category: str = "note",
        source: str = "",
        again: bool = False,
        secrets: Secrets = "refuse",
        fact: bool = False,
        valid_from: str | None = None,
        valid_to: str | None = None,
        author: str = "",
        session: str = "",
        reason: str = "",
    ) -> Remembered:
        """Keep a line or a few in the journal of `author` (or in the note `to`), to be recalled in the same second.

        What says nearly the same is reported in `duplicate` and not stored twice, unless `again`. A `fact` is written
        with the time in which it holds, from today on if nothing else is given; `to` is best the note of its subject.
        """
        from holdfast.engine.quick import Memo, remember

        by = By(author, session, reason)
        return remember(self._ws, Memo(text, by, category, to, source, again, fact, valid_from, valid_to, secrets))

    def move(
        self,
        note: str,
        to: str,
        *,
        expect: str | None = None,
        dry_run: bool = False,
        author: str = "",
        session: str = "",
        reason: str = "",
    ) -> Moved:
        """Give a note another path (a folder with a `/` at its end takes it under its name), and rewrite links to it.

        Links that still mean it stay as they are. It is one group: `undo(session=...)` takes it back.
        """
        from holdfast.engine.move import move

        by = By(author, session, reason)
        return move(self._ws, note, to, by, expect=digest_from(expect), dry_run=dry_run)

    def delete(
        self, note: str, *, expect: str | None = None, author: str = "", session: str = "", reason: str = ""
    ) -> Written:
        """Remove a note; `restore` brings it back. Raises NotFound, Conflict, and what the history raises."""
        return write.delete(self._ws, self._path(note), _terms(expect, False, author, session, reason))

    def forget(self, *notes: str, dry_run: bool = False) -> Forgotten:
        """Remove notes with their history, vectors and set-aside copies, and search all that is left for them.

        There is no way back. `traces` is empty where nothing was found. Raises NotFound, Conflict and VaultBusy.
        """
        from holdfast.engine.forget import forget
        from holdfast.engine.versions import path_of

        return forget(self._ws, [path_of(self._ws, note) for note in notes], dry_run=dry_run)

    def history(self, note: str, *, before: int = 0, limit: int = 50) -> Versions:
        """The versions of a note, newest first."""
        return versions.history(self._ws, note, before=before, limit=_limit(limit))

    def recent(
        self, *, since: str = "", author: str = "", session: str = "", before: int = 0, limit: int = 50
    ) -> Versions:
        """The changes of all notes, newest first."""
        return versions.recent(
            self._ws, since=since, author=author, session=session, before=before, limit=_limit(limit)
        )

    def diff(self, note: str, older: str | None = None, newer: str | None = None) -> Difference:
        """What differs between two versions of a note, one and now, or by its last change."""
        return versions.diff(self._ws, note, older, newer)

    def restore(self, note: str, *, author: str = "", session: str = "", reason: str = "") -> Written:
        """Make a note what it was at `NOTE@REV` (a number of `history`, or a date); a deleted one comes back."""
        return versions.restore(self._ws, note, By(author, session, reason))

    def undo(self, session: str, *, dry_run: bool = False, author: str = "", reason: str = "") -> Undone:
        """Take back what a session wrote and nobody changed since; the rest is listed."""
        return versions.undo(self._ws, session, By(author, "", reason or f"undo of {session}"), dry_run=dry_run)

    def export_history(self, git: str | os.PathLike[str]) -> Exported:
        """Write the whole history into a new git repository, a commit a change. Needs git."""
        from holdfast.engine.export import export_git

        return Exported(os.fspath(git), export_git(self._ws, os.fspath(git)))

    def backup_history(self, path: str | os.PathLike[str]) -> Exported:
        """Copy the store of the history to a new file, whole at one moment."""
        from holdfast.engine.export import backup

        return Exported(os.fspath(path), backup(self._ws, os.fspath(path)))

    def _path(self, note: str) -> str:
        return find_exact(self._ws, usable(self._ws), note)


def _terms(
    expect: str | None, merge: bool, author: str, session: str, reason: str, secrets: Secrets = "allow"
) -> Terms:
    if merge and expect is None:
        raise QueryError("A merge needs the version that the change is for.", hint="Give its digest with expect.")
    if secrets not in ("refuse", "redact", "allow"):
        raise QueryError(f"“{secrets}” is nothing to do with secrets.", hint="It is refuse, redact or allow.")
    return Terms(By(author, session, reason), digest_from(expect), merge, secrets)


def _limit(limit: int) -> int:
    if limit < 1:
        raise QueryError(f"The limit is {limit}.", hint="Ask for at least one.")
    return limit


def _utf8(text: str | bytes) -> bytes:
    try:
        body = text.encode() if isinstance(text, str) else text
        body.decode()
    except UnicodeError as e:
        raise QueryError("The text is not UTF-8.", hint="Convert it first; notes are UTF-8.") from e
    return body
