"""Compare the index with the notes, and say what differs with the command that cures it. Neither is ever changed.

Fast: what the index says of itself, and a sample of notes, found by their own words. Deep: every note is read and cut
again and compared with all that is kept of it, and every posting and vector with what it is made from. Memory does not
grow with the notes; the index and the notes may be written to meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from shlex import quote

from holdfast.engine import privacy
from holdfast.engine.again import Again
from holdfast.engine.diff import diff, is_note_key
from holdfast.engine.facts import contradictions
from holdfast.engine.prove import Proof, prove
from holdfast.engine.survey import Survey
from holdfast.engine.verdict import keep_verdict
from holdfast.engine.workspace import Workspace
from holdfast.errors import IndexFault, IndexForeign, IndexTooNew
from holdfast.files.scan import scan
from holdfast.index.asking import Search
from holdfast.index.base import Index
from holdfast.index.proofs import Flaw
from holdfast.index.sqlite.db import decoding
from holdfast.model import Witness, key_path, show_path
from holdfast.results import Checked, Extent, Finding

Progress = Callable[[int, int], None]
"""Called with (notes compared, notes)."""

FINDINGS = 1_000
SAMPLE = 32
RARE_WORDS = 3
PAGE = 256

REPAIRED = {
    "index_damaged", "index_foreign", "database", "sums", "orphan", "words", "vector", "differs", "unfound",
}  # fmt: skip
"""What `holdfast repair` mends."""

WRONG = REPAIRED | {
    "index_missing", "index_outdated", "index_too_new", "index_incomplete", "vault_empty", "hidden_change", "set_aside",
    "unreadable", "secret", "unscanned",
}  # fmt: skip
"""What makes a check fail. All other kinds are only worth knowing."""

_CURES = {
    "index_missing": "holdfast sync",
    "index_outdated": "holdfast sync",
    "index_too_new": "pip install --upgrade holdfast",
    "index_incomplete": "holdfast sync",
    "vault_empty": "holdfast sync --accept-empty",
    "hidden_change": "holdfast sync --checksum",
    "set_aside": "holdfast sync --checksum",
    "behind": "holdfast sync",
    "contradiction": "holdfast end NOTE:LINE --at DATE",
    "vector_missing": "holdfast embed",
    "embedder_changed": "holdfast embed",
    "embedder_down": "holdfast embed",
    "odd_time": "touch -- {}",
    "conflict_copy": "ls -l -- {}",
    "conflict_markers": "holdfast edit {}",
    "name_collision": "ls -l -- {}",
}
_LOOK = "ls -l -- {}"


def check(
    ws: Workspace,
    *,
    deep: bool = False,
    vectors: bool = True,
    secrets: bool = False,
    progress: Progress | None = None,
) -> Checked:
    """Look at the index and the vault, and remember what is wrong for `status`.

    `vectors` also makes vectors again, where deep and the embedder is local; `secrets` reads each note for secrets.

    Raises VaultMissing and the resource faults, and no fault of the index: that is a finding.
    """
    ws.prove_vault()
    done = _Check(ws, deep, vectors, progress, secrets=secrets).run()
    keep_verdict(ws, [f for f in done.findings if f.kind in REPAIRED])
    return done


@dataclass(slots=True)
class _Findings:
    """What was found, bounded; what is wrong stays when there is too much."""

    wrong: list[Finding] = field(default_factory=list)
    others: list[Finding] = field(default_factory=list)
    total: int = 0

    def add(self, kind: str, path: str | None, message: str) -> None:
        cure = "holdfast repair" if kind in REPAIRED else _CURES.get(kind, _LOOK).format(quote(path or "."))
        self.take(Finding(kind, path, message, cure))

    def take(self, found: Finding) -> None:
        """Keep a finding as it is."""
        kept = self.wrong if found.kind in WRONG else self.others
        if found.path is None and found in kept:
            return
        self.total += 1
        if len(kept) < FINDINGS:
            kept.append(found)

    def listed(self) -> tuple[Finding, ...]:
        out = self.wrong + self.others
        if self.total <= FINDINGS:
            return tuple(out)
        more = Finding("more", None, f"There are {self.total - FINDINGS + 1:,} more findings.", "holdfast check --json")
        return (*out[: FINDINGS - 1], more)


class _Check:
    """One check."""

    def __init__(self, ws: Workspace, deep: bool, vectors: bool, progress: Progress | None, *, secrets: bool) -> None:
        self.ws, self.deep, self.vectors, self.progress, self.secrets = ws, deep, vectors, progress, secrets
        self.found = _Findings()
        self.notes = self.chunks = self.codes = 0

    def run(self) -> Checked:
        index = self._open()
        with self._guarded():
            self._survey(index)
        if index is not None:
            steps = (self._whole, self._bare, self._aside, self._notes, self._words, self._vectors, self._claims)
            for step in (*steps, self._secrets):
                with self._guarded():
                    step(index)
        extent = Extent(self.notes, self.chunks, self.codes)
        return Checked(not self.found.wrong, self.deep, extent, self.found.listed())

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Damage that is met on the way is a finding, and the next step goes on."""
        try:
            yield
        except IndexFault as e:
            self.ws.count("check_met_damage")
            self.found.add("index_damaged", None, e.message)

    def _open(self) -> Index | None:
        try:
            index = self.ws.index()
        except IndexTooNew as e:
            self.found.add("index_too_new", None, e.message)
        except IndexForeign as e:
            self.found.add("index_foreign", None, e.message)
        except IndexFault as e:
            kind = "index_outdated" if self.ws.generations.is_outdated() else "index_damaged"
            self.found.add(kind, None, e.message)
        else:
            if index is None:
                self.found.add("index_missing", None, "There is no index yet.")
            return index
        return None

    def _survey(self, index: Index | None) -> None:
        """Walk the vault: what is worth knowing of it, and in which files the index is behind."""
        seen: dict[str, str] = {}
        if index is not None:
            with decoding(index.path):
                seen = dict(json.loads(str(index.meta("rules") or "{}")))
        walk = scan(self.ws.fs, self.ws.root, rules_seen=seen, inode_mask=self.ws.inode_mask)
        survey = Survey(walk, self.ws.fs.time_ns(), self.found.add)
        if index is None:
            for _ in survey:
                pass
            return
        gone: list[bytes] = []
        for part in diff(index, survey):
            self._behind(part.added, "It is not in the index yet.")
            gone += [key for key in part.removed if is_note_key(key)][: FINDINGS - len(gone)]
            for key in part.excluded:
                self.found.add("behind", show_path(key_path(key)), "Ignore rules exclude it now.")
            for witness in part.suspect:
                row = index.file_row(witness[0])
                # A deep check reads each note anyway, but for those that are set aside.
                is_read = self.deep and index.aside(witness[0]) is None
                if not is_read and (row is None or row.witness != witness):
                    self._behind([witness], "It changed since the last sync.")
        if walk.incomplete:
            self.found.add("unreadable", None, "The vault went away, or cannot be read.")
        elif not walk.files and index.counts().notes:
            self.found.add("vault_empty", None, "The vault has no notes any more; the index still has them.")
        else:
            for key in gone:
                self.found.add("behind", show_path(key_path(key)), "It is in the index, and not in the vault any more.")

    def _behind(self, witnesses: list[Witness], words: str) -> None:
        for witness in witnesses:
            if is_note_key(witness[0]):
                self.found.add("behind", show_path(key_path(witness[0])), words)

    def _whole(self, index: Index) -> None:
        proofs = index.proofs
        looks: list[Callable[[], list[Flaw]]] = [lambda: proofs.database(whole=self.deep), proofs.sums, proofs.orphans]
        for look in looks:
            with self._guarded():
                for flaw in look():
                    key = index.keys([flaw.note]).get(flaw.note) if flaw.note else None
                    self.found.add(flaw.kind, show_path(key_path(key)) if key else None, flaw.message)
        if not index.meta("full"):
            self.found.add("index_incomplete", None, "The first sync has not ended.")

    def _bare(self, index: Index) -> None:
        """Files that are notes, and of which the index has nothing else."""
        after = 0
        while page := index.proofs.bare(after, PAGE):
            after = page[-1][0]
            for _, key in page:
                if is_note_key(key) and index.aside(key) is None:
                    self.found.add("differs", show_path(key_path(key)), "The index has no row of it.")

    def _aside(self, index: Index) -> None:
        for x in index.quarantined(FINDINGS + 1):
            self.found.add("set_aside", show_path(key_path(x.key)), x.reason)

    def _notes(self, index: Index) -> None:
        again = Again(self.ws, index, self.found.add) if self.deep and self.vectors else None
        total = index.counts().notes
        if self.deep:
            after = b""
            while page := index.file_rows(after, PAGE):
                after = page[-1][0]
                for row in page:
                    if is_note_key(row[0]):
                        with self._guarded():
                            self._note(index, row[0], again)
                if self.progress is not None:
                    self.progress(self.notes, max(total, self.notes))
        if again is not None:
            again.finish()
        for key in index.keys(index.proofs.sample(SAMPLE)).values():
            with self._guarded():
                self._sampled(index, key)

    def _note(self, index: Index, key: bytes, again: Again | None) -> Proof:
        proof = prove(self.ws, index, key)
        path = show_path(key_path(key))
        self.notes += 1
        if proof.record is not None:
            self.chunks += len(proof.record.chunks)
        kind = {"hidden": "hidden_change"}.get(proof.state, proof.state)
        if kind in ("hidden_change", "differs", "unreadable", "behind"):
            self.found.add(kind, path, proof.words)
            return proof
        if self.deep and proof.conflict:
            self.found.add("conflict_markers", path, f"A merge was left undone on line {proof.conflict}.")
        if again is not None:
            again.add(path, proof.inputs)
        return proof

    def _secrets(self, index: Index) -> None:
        if self.secrets:
            for found in privacy.scan(self.ws, index):
                self.found.take(found)

    def _sampled(self, index: Index, key: bytes) -> None:
        """A note is found by its own rarest words, by the search that all questions go through."""
        proof = prove(self.ws, index, key) if self.deep else self._note(index, key, None)
        if proof.state != "same" or proof.record is None:
            return
        path = show_path(key_path(key))
        if not self.deep:
            for input_, row in index.proofs.vectors_of(x.digest for x in proof.inputs).items():
                self.codes += 1
                if why := index.proofs.spoiled(row):
                    self.found.add("vector", path, f"The vector of {input_.hex()} {why}.")
        terms = {t for entry in proof.record.terms for t in entry}
        often = index.proofs.frequencies(terms)
        words = tuple(sorted(terms, key=lambda t: (often[t], t))[:RARE_WORDS])
        said = index.signals(Search(words=words, repeats=(1,) * len(words)))
        if words and proof.id not in said.notes and prove(self.ws, index, key) == proof:
            self.found.add("unfound", path, f"It is not found by its own words, such as “{words[0]}”.")

    def _claims(self, index: Index) -> None:
        """What contradicts itself: two values at once of what has one at a time."""
        for c in contradictions(self.ws, index, limit=FINDINGS).findings:
            claims = f"{c.other.value} (line {c.other.line}) and {c.one.value} (line {c.one.line})"
            words = f"{c.label} is {claims} at one time."
            self.found.add("contradiction", c.other.path, words)

    def _words(self, index: Index) -> None:
        for _, flaws in index.proofs.words() if self.deep else ():
            for flaw in flaws:
                self.found.add(flaw.kind, None, flaw.message)

    def _vectors(self, index: Index) -> None:
        embedder, live = self.ws.embedder(), index.vectors.live()
        for count, flaws in index.proofs.vectors() if self.deep else ():
            self.codes += count
            for flaw in flaws:
                self.found.add(flaw.kind, None, flaw.message)
        if embedder is None:
            return
        chunks = index.counts().chunks
        ready = index.vectors.counts(live.id)[0] if live is not None else 0
        if live is not None and live.identity != embedder.identity:
            self.found.add("embedder_changed", None, "The vectors are of another embedder than the settings name.")
        elif ready < chunks:
            self.found.add("vector_missing", None, f"{chunks - ready:,} of {chunks:,} passages have no vector yet.")
