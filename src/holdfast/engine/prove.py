"""Compare notes with what the index keeps of them: one note, or a range of ids; and mend what differs by reading again.

A note that is newer than the index is no damage: its stat says so, and the next sync brings it in.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from holdfast.engine.apply import Apply
from holdfast.engine.diff import is_note_key
from holdfast.engine.embed import PASSED
from holdfast.engine.record import make_record, read_note, unread_record
from holdfast.engine.workspace import Workspace
from holdfast.errors import IndexDamaged, NoteError, NoteTooLarge
from holdfast.files import notes
from holdfast.index.base import FileRow, Index, NoteRecord
from holdfast.index.sqlite.db import decoding
from holdfast.index.vectors.port import LiveEmbedder
from holdfast.model import Input, key_path, show_path
from holdfast.text.markers import conflict_line

AUDITED_NS, AUDIT_ID = "audit_ns", "audit_id"
"""When notes were last compared with their bytes, and which id the next look begins behind."""

State = Literal["same", "behind", "gone", "hidden", "differs", "aside", "unreadable"]
TRIES = 3

QUICK_TERMS = 3
"""Of a note that is not read, so many words are looked for where they must be found."""

PASSAGES = 64
"""Of so many passages of a note the vectors are looked at."""


@dataclass(frozen=True, slots=True)
class Proof:
    """How a note stands to the index, with `words` to say it.

    `conflict` is the line on which a merge was left undone in it, 0 where none was.

    `behind`: it changed since, `gone` it is not there; `hidden`: it changed and its stat did not; `differs`: the
    index keeps something else of it than it gives; `aside`, `unreadable`: it was set aside, or would be now.
    """

    state: State
    words: str = ""
    id: int = 0
    record: NoteRecord | None = None
    inputs: Sequence[Input] = ()
    conflict: int = 0


def prove(ws: Workspace, index: Index, key: bytes) -> Proof:
    """Read the note under `key` and compare it, whole, with what the index keeps of it."""
    proof = Proof("behind")
    for _ in range(TRIES):
        row = index.file_row(key)
        if row is None:
            return Proof("behind", "It is not in the index yet.")
        proof = _prove(ws, index, row)
        if proof.state not in ("differs", "hidden") or index.file_row(key) == row:
            return proof
    return proof  # it is stored again and again: whoever does that reads it anew each time


def _prove(ws: Workspace, index: Index, row: FileRow) -> Proof:
    key, path = row.witness[0], key_path(row.witness[0])
    try:
        body = notes.read_note(ws.fs, ws.root, path, max_bytes=ws.config.note_bytes)
    except FileNotFoundError:
        return Proof("gone", "It is in the index, and not in the vault any more.", row.id)
    except NoteTooLarge as e:
        return _compared(index, row, unread_record(path), row.witness[1], e.message)
    except NoteError as e:
        return Proof("unreadable" if index.aside(key) is None else "aside", e.message, row.id)
    aside = index.aside(key)
    stat = (*body.witness[1:4], body.witness[4] & ws.inode_mask)
    if body.digest != row.digest:
        if aside is not None:
            return Proof("aside", aside.reason, row.id)
        if row.digest is None and stat == row.witness[1:]:
            return Proof("differs", "The index has no row of it.", row.id)
        if row.racy_ns or stat != row.witness[1:]:
            return Proof("behind", "It changed since the last sync.", row.id)
        return Proof("hidden", "Its bytes are not those that the index knows, though its stat is.", row.id)
    try:
        note = read_note(body.data, path, ws.config.chunk_tokens)
    except Exception:  # noqa: BLE001 - counted: the next sync sets it aside, with the words
        ws.count("check_parser_failed")
        return Proof("aside", "It cannot be parsed.", row.id)
    if aside is not None and not note.cut:
        return Proof("aside", aside.reason, row.id)  # it can be read again, and the next try of a sync will see it
    proof = _compared(index, row, make_record(note, body.digest, path), len(body.data), note.cut, note.inputs)
    if proof.state == "same" and stat != row.witness[1:]:
        return Proof("behind", "Its stat is not the one that the index knows; its bytes are.", row.id, proof.record)
    return replace(proof, conflict=conflict_line(body.data))


def _compared(
    index: Index, row: FileRow, record: NoteRecord, size: int, reason: str, inputs: Sequence[Input] = ()
) -> Proof:
    """`reason` is why the note is set aside, as far as it must be; "" if it must not."""
    aside = index.aside(row.witness[0])
    try:
        wrong = index.proofs.differences(row.id, size, record)
    except IndexDamaged as e:
        return Proof("differs", e.message, row.id, record)
    if (aside.reason if aside else "") != reason:
        if reason and row.digest:
            return Proof("behind", "It is over a limit now, and was not at the last sync.", row.id)
        wrong.append("why it is set aside")
    if wrong:
        words = ", ".join(wrong[:-1]) + " and " + wrong[-1] if len(wrong) > 1 else wrong[0]
        return Proof("differs", f"The index keeps something else of it than it says: {words}.", row.id, record, inputs)
    return Proof("aside" if reason else "same", reason, row.id, record, inputs)


@dataclass(slots=True)
class Looked:
    """What a look at a range of ids found. `next` is where the next look begins, 0 at the start again.

    `suspects` are keys of notes to be read again, `lost` inputs whose vectors are missing or spoiled, `flaws` what
    only a new index cures. `words` has a sentence for each.
    """

    next: int = 0
    notes: int = 0
    suspects: list[bytes] = field(default_factory=list)
    lost: set[bytes] = field(default_factory=set)
    flaws: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.suspects or self.lost or self.flaws)


def look_over(ws: Workspace, index: Index, after: int, count: int, *, read: bool) -> Looked:
    """Look at the next `count` files behind the id `after`; with `read`, each note is compared with its bytes.

    Without, only what the index says of itself is looked at, which opens no note.
    """
    proofs = index.proofs
    files = proofs.files(after, count)
    is_last = len(files) < count
    upto = sys.maxsize if is_last else files[-1][0]
    out = Looked(0 if is_last else upto)
    found = proofs.coherence(after, upto)
    if is_last:
        found += [*proofs.sums(), *proofs.orphans()]
    out.flaws = [flaw.message for flaw in found]
    live = index.vectors.live()
    for id_, key in files:
        if is_note_key(key):
            out.notes += 1
            _look_at(ws, index, out, live, id_, key, read=read)
    out.words += out.flaws
    return out


def _look_at(
    ws: Workspace, index: Index, out: Looked, live: LiveEmbedder | None, id_: int, key: bytes, *, read: bool
) -> None:
    name = show_path(key_path(key))
    terms: list[str] = []
    if read:
        proof = prove(ws, index, key)
        if proof.state in ("differs", "hidden"):
            out.suspects.append(key)
            out.words.append(f"{name}: {proof.words}")
            return
        if proof.record is None:
            return
        terms = [t for entry in proof.record.terms for t in entry]
    elif index.notes([id_]).get(id_) is None:
        if index.aside(key) is None:
            out.suspects.append(key)
            out.words.append(f"{name}: The index has no row of it.")
        return
    if lost := index.proofs.unfound(id_, terms, 0 if read else QUICK_TERMS):
        out.flaws.append(f"{name} is not found by its own words, such as {lost[0]}.")
    if live is not None and (bad := _bad_vectors(index, live, id_)):
        out.lost |= bad
        out.words.append(f"{name}: {len(bad)} of its vectors are missing or spoiled.")


def _bad_vectors(index: Index, live: LiveEmbedder, id_: int) -> set[bytes]:
    """The note's inputs whose vector is spoiled, or missing though every passage is said to have one."""
    inputs = index.proofs.inputs(id_)[:PASSAGES]
    stored = index.proofs.vectors_of(inputs)
    bad = {x for x, row in stored.items() if index.proofs.spoiled(row)}
    missing = set(inputs) - stored.keys()
    if missing and index.vectors.ready(live.id) == index.counts().chunks:
        bad |= missing
    return bad


def mend(ws: Workspace, index: Index, apply: Apply, looked: Looked) -> None:
    """Read the suspects again, whatever their stat, and have lost vectors made anew. Needs the job lock.

    Raises IndexDamaged where that does not help: then only a new index does.
    """
    if looked.flaws:
        raise IndexDamaged(f"The index {index.path} is damaged: {looked.flaws[0]}")
    live = index.vectors.live()
    if looked.lost and live is not None:
        index.vectors.drop(live.id, looked.lost)
        index.put_meta({PASSED: ""})
    rows = [index.file_row(key) for key in looked.suspects]
    apply.reread(row.witness for row in rows if row is not None)
    for key in looked.suspects:
        proof = prove(ws, index, key)
        if proof.state in ("differs", "hidden"):
            name = show_path(key_path(key))
            raise IndexDamaged(f"The index {index.path} is damaged: {name} was read again. {proof.words}")
    if looked.suspects and (wrong := index.proofs.sums()):
        # A row that said the wrong size was taken out of the sums as it was.
        raise IndexDamaged(f"The index {index.path} is damaged: {wrong[0].message}")


def audit_slice(ws: Workspace, index: Index, apply: Apply, now_ns: int, *, is_first: bool) -> None:
    """Look at a few notes at the end of a sync, and mend what is wrong; raises IndexDamaged as `mend`.

    Notes are opened for that at most once in `audit_s`; an index that was made just now waits as long for its first.
    """
    count = ws.config.audit_notes
    if not count:
        return
    if is_first:
        index.put_meta({AUDITED_NS: now_ns, AUDIT_ID: 0})
        return
    with decoding(index.path):
        last, after = (int(index.meta(key) or 0) for key in (AUDITED_NS, AUDIT_ID))
    read = abs(now_ns - last) >= ws.config.audit_s * 1e9
    looked = look_over(ws, index, after, count, read=read)
    if not looked.is_clean:
        ws.count("audit_found")
        mend(ws, index, apply, looked)
    if read:
        index.note_job("audit", "", ws.fs.time_ns(), {AUDITED_NS: now_ns, AUDIT_ID: looked.next})
    else:
        index.put_meta({AUDIT_ID: looked.next})
