"""Whatever is typed as a question gives an answer or a QueryError, and never a traceback."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from holdfast import QueryError, Vault
from holdfast.index.sqlite.store import SqliteIndex
from tests.e2e.command import Command

ODD = [
    "",
    " ",
    "\t\n",
    '"',
    '""',
    '"""',
    '"unclosed phrase',
    "-",
    "--",
    "- -",
    '-"',
    "*",
    "**",
    "a*",
    ":",
    "::",
    "tag:",
    ":value",
    'tag:""',
    'tag:"',
    "tag:,",
    "-tag:",
    "type:: x",
    "since:",
    "since:yesterday",
    "until:9999-99-99",
    "as_of:2026-02-30",
    "since:0001 until:9999",
    "path:../..",
    "path:/",
    "path:[",
    "path:**",
    "C++ && C# || !x",
    "AND OR NOT NEAR(a b)",
    "title:hello^2",
    "o'brien; DROP TABLE note; --",
    "' OR 1=1 --",
    '" OR ""="',
    "%s %d {0} ${x} $(id) `id`",
    "https://example.org/a?b=c#d",
    "\\",
    "\\x00 \\u0000",
    "(((((((((((((((((((((",
    "a" * 100_000,
    "word " * 20_000,
    '"' * 5_001,
    "-x " * 5_000,
    "tag:x " * 5_000,
    "x* " * 2_000,
    "🍅",
    "👩‍👩‍👧‍👦 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "喫茶店" * 200,
    "\u202eevil\u202c",
    "\ufeffespresso",
    "e\u0301" * 500,
    "\x1b[31mred\x07\x7f\x9b",
    "ﷺ ŉ ß İ",
    "𝕖𝕤𝕡𝕣𝕖𝕤𝕤𝕠",
    "0",
    "-0",
    "1e309",
    "null true {} []",
]


@pytest.fixture(scope="module")
def vault(holdfast: Command) -> Iterator[Vault]:
    assert holdfast.vault is not None
    with Vault.open(holdfast.vault, state_dir=holdfast.state) as found:
        yield found


def is_answered(vault: Vault, question: str) -> bool:
    try:
        answer = vault.recall(question, sync=False)
    except QueryError:
        return False
    assert answer.query == question
    return True


@pytest.mark.parametrize("question", ODD, ids=lambda q: repr(q[:16]))
def test_odd_questions(vault: Vault, question: str) -> None:
    is_date = question.partition(":")[0] in ("since", "until", "as_of") and len(question) > 6
    assert is_answered(vault, question) or is_date


@pytest.mark.parametrize("question", ["a\0b", "\0", '"\0"', "tag:\0", "since:\0", "\ud800", "tag:\udcff x", "path:\0"])
def test_what_no_argument_can_hold(vault: Vault, question: str) -> None:
    is_answered(vault, question)


def test_random_questions(vault: Vault) -> None:
    """A thousand questions from the pieces of the grammar, put together at random."""
    rng = random.Random(20_261_120)
    pieces = [*'"-*:,#\\/.()[]{} ', "tag:", "type:", "path:", "by:", "since:", "2026-03", "as_of:", "the", "espresso"]
    pieces += ["é", "喫茶", "\u200d", "\0", "\ud83c", "\x1b"]
    for _ in range(1_000):
        is_answered(vault, "".join(rng.choice(pieces) for _ in range(rng.randint(1, 25))))


def test_a_question_reads_and_does_nothing_else(vault: Vault) -> None:
    """Fault 57: whatever is asked, the connection that reads only selects, and it could not write."""
    index = vault._ws.index()
    assert isinstance(index, SqliteIndex)
    with pytest.raises(apsw.ReadOnlyError):
        index._db.execute("delete from note")
    harmless = {
        apsw.SQLITE_SELECT,
        apsw.SQLITE_READ,
        apsw.SQLITE_FUNCTION,
        apsw.SQLITE_RECURSIVE,
        apsw.SQLITE_TRANSACTION,
    }
    refused: list[tuple[int, str | None]] = []

    def authorizer(what: int, one: str | None, *rest: str | None) -> int:
        if what in harmless:
            return apsw.SQLITE_OK
        refused.append((what, one))
        return apsw.SQLITE_DENY

    index._db.authorizer = authorizer
    try:
        for question in ODD:
            is_answered(vault, question)
        assert vault.recall("espresso", sync=False).hits
    finally:
        index._db.authorizer = None
    assert not refused


@pytest.mark.parametrize(
    "question",
    [b"espresso \xff", b"\xed\xa0\x80", b"tag:\xe9", b"\x1b]0;title\x07", b"x" * 100_000, b'"' * 1_001, b"--", b"-"],
    ids=lambda q: repr(q[:12]),
)
def test_odd_arguments_to_the_command(holdfast: Command, question: bytes) -> None:
    """Bytes that are no UTF-8 come in as lone surrogates; what goes out is UTF-8 (checked by the run)."""
    done = holdfast("recall", "--json", "--no-sync", "--", question)
    assert done.exit in (0, 2)
    if done.exit == 0:
        assert set(done.json) == {"query", "hits", "receipt", "tokens"}
    else:
        assert done.error["kind"] in ("QueryError", "UserError")
    assert "\x1b" not in holdfast("recall", "--no-sync", "--", question).out


def test_odd_arguments_to_the_other_verbs(holdfast: Command) -> None:
    for odd in (
        b"\xff",
        b"\x1b[2J",
        b"a" * 100_000,
        "e\u0301".encode(),
        b"%",
        b"memory://",
        b":1:2",
        b"x:99999999999999999999",
    ):
        for verb in ("read", "list"):
            done = holdfast(verb, "--no-sync", "--json", "--", odd)
            assert done.exit in (4, 6), (verb, odd)
            assert done.error["kind"] in ("NotFound", "PathNotAllowed")
            text = holdfast(verb, "--no-sync", "--", odd).err
            assert "\x1b" not in text
            assert text.count("\n") == 1


def test_odd_vault_names(holdfast: Command, tmp_path: Path) -> None:
    for name in (b"with space", "ønske".encode(), b"new\nline", b"esc\x1b[31m", b"quo'te"):
        vault = tmp_path / os.fsdecode(name)
        vault.mkdir()
        (vault / "n.md").write_text("harbour\n")
        command = Command(holdfast.state, None, vault)
        assert command("init").exit == 0
        assert "\x1b" not in command("init").out
        assert command("sync").exit == 0
        assert "\x1b" not in command("status").out
        assert command("status", "--json").json["vault"]["path"] == str(vault)
        assert command("recall", "harbour", "--json").json["hits"]
