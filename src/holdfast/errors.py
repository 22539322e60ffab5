"""Every error Holdfast raises.

HoldfastError
  UserError        the request is wrong: one sentence, no traceback
    ConfigError 2/400   QueryError 2/400   NotFound 4/404   Conflict 5/409   PathNotAllowed 6/403   Unauthorized 7/401
    SecretFound 2/422
  NoteError        one file is bad: it is set aside, everything else goes on              3 (done, with problems)
    NoteUnreadable   NoteMalformed   NoteTooLarge   NoteUnstable
  IndexFault       derived state is unusable: rebuilt without asking, visible in status   0
    IndexDamaged   IndexForeign   IndexTooNew 3 (refuse, never delete)   IndexOverBudget
  ResourceFault    the machine is short: retry later, health turns red                    75/503
    DiskFull   FileLimit   WatchLimit   MemoryBudget   VaultBusy   EmbedderDown   EmbedderWrong
  TruthFault       stop everything and speak                                              70/500
    NotDurable   VaultMissing

The number before the slash is the exit code of the command line, the one after it the HTTP status. The message is one
sentence; `hint` says what to do next, and every error has one.
"""

from __future__ import annotations

from typing import Any, ClassVar


class HoldfastError(Exception):
    """Something went wrong."""

    exit: ClassVar[int] = 70
    http: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    hint_default: ClassVar[str] = "Run `holdfast status` and look at the reasons."

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        self.message = message or (self.__doc__ or "").strip().splitlines()[0]
        self.hint = hint or self.hint_default
        super().__init__(self.message)

    @property
    def kind(self) -> str:
        return type(self).__name__

    def to_dict(self) -> dict[str, Any]:
        """The JSON shape of interface.md, without the outer `error` key."""
        return {
            "kind": self.kind,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
            "exit": self.exit,
        }

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UserError(HoldfastError):
    """The request is wrong."""

    exit, http = 2, 400
    hint_default = "Run the command with --help to see what it takes."


class ConfigError(UserError):
    """A setting is wrong."""

    hint_default = "Correct the setting, or leave it out to get the default."


class QueryError(UserError):
    """The question cannot be read."""

    hint_default = "Put the words in plain form; quotes, filters and dates are optional."


class NotFound(UserError):
    """There is no such note."""

    exit, http = 4, 404
    hint_default = "Run `holdfast list` to see what there is."


class Conflict(UserError):
    """The note was changed by somebody else.

    `current_digest` is of what it holds now (None where there is no note), `diff` says in text how the two differ.
    """

    exit, http = 5, 409
    hint_default = "Read the note again and repeat the change."

    def __init__(self, message: str = "", *, hint: str = "", current_digest: str | None = None, diff: str = "") -> None:
        super().__init__(message, hint=hint)
        self.current_digest, self.diff = current_digest, diff

    def to_dict(self) -> dict[str, Any]:
        """As every error, with the two."""
        return {**super().to_dict(), "current_digest": self.current_digest, "diff": self.diff}


class PathNotAllowed(UserError):
    """The path is outside the vault or in a reserved folder."""

    exit, http = 6, 403
    hint_default = "Name a note inside the vault, relative to its root."


class Unauthorized(UserError):
    """The token is missing or wrong."""

    exit, http = 7, 401
    hint_default = "Send a valid token for this vault."


class SecretFound(UserError):
    """The note would hold a secret."""

    http = 422
    hint_default = "Add --redact to have it masked, or --allow-secret to store it all the same."


class NoteError(HoldfastError):
    """One file is bad; everything else goes on."""

    exit, http = 3, 422
    hint_default = "Correct the file; the next sync reads it again."


class NoteUnreadable(NoteError):
    """The file cannot be read."""

    hint_default = "Check its permissions and the disk; the next sync tries again."


class NoteMalformed(NoteError):
    """The file is no note."""


class NoteTooLarge(NoteError):
    """The file is over the size limit of a note."""

    hint_default = "Split it, or raise `note_bytes` in .holdfast/config.toml."


class NoteUnstable(NoteError):
    """The file kept changing while it was read."""

    hint_default = "The next sync reads it again, once it is left alone."


class IndexFault(HoldfastError):
    """The index is unusable."""

    exit, http = 0, 503
    hint_default = "It is rebuilt from the notes by the next `holdfast sync`."


class IndexDamaged(IndexFault):
    """The index is damaged."""


class IndexForeign(IndexFault):
    """The index belongs to another vault."""


class IndexTooNew(IndexFault):
    """The index was made by a newer Holdfast."""

    exit = 3
    hint_default = "Upgrade Holdfast, or use another --state-dir to build an index beside it."


class IndexOverBudget(IndexFault):
    """The index has reached its size limit."""

    hint_default = "Raise `index_bytes` in .holdfast/config.toml, or run `holdfast prune`."


class ResourceFault(HoldfastError):
    """The machine is short of something."""

    exit, http, retryable = 75, 503, True
    hint_default = "Free what is short and try again."


class DiskFull(ResourceFault):
    """The disk is full."""

    hint_default = "Free some space and try again; no note was changed."


class FileLimit(ResourceFault):
    """The limit of open files is reached."""

    hint_default = "Raise it (`ulimit -n 1024`) and try again."


class WatchLimit(ResourceFault):
    """The limit of watched directories is reached."""

    hint_default = "Raise fs.inotify.max_user_watches; until then the vault is polled."


class MemoryBudget(ResourceFault):
    """The memory limit is reached."""

    hint_default = "Give the process more memory, or lower `batch_bytes` in .holdfast/config.toml."


class VaultBusy(ResourceFault):
    """Another process is at work on this vault."""

    hint_default = "Wait for it to finish and try again."


class EmbedderDown(ResourceFault):
    """The embedder does not answer."""

    hint_default = "Keyword search goes on; check the embedder's address and try again."


class EmbedderWrong(ResourceFault):
    """The embedder answers with something that is no set of vectors."""

    hint_default = "Keyword search goes on; check which model the embedder serves."


class TruthFault(HoldfastError):
    """The notes are at risk."""

    hint_default = "Stop, look at the disk, and do not run anything that deletes."


class NotDurable(TruthFault):
    """The disk did not confirm the write."""


class VaultMissing(TruthFault):
    """The vault is not there, or suddenly empty."""

    hint_default = "Mount it again; if its notes are really gone, run `holdfast sync --accept-empty`."
