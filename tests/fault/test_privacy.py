"""Secrets are refused or masked when a note is written, and told by `check` when they stand in one; never shown."""

from __future__ import annotations

import os
import random
import tracemalloc
from pathlib import Path

import pytest

from holdfast.engine import privacy
from holdfast.engine.privacy import redacted, refuse_secrets
from holdfast.errors import SecretFound
from holdfast.text.secrets import find_secrets
from tests.fault.test_check import SMALL, kinds, look
from tests.fault.vaults import Place
from tests.unit.test_secrets import MERGE, jwt, pem, summed

RNG = random.Random(5)
TOKEN, OTHER, JWT, KEY = summed(RNG, "ghp_"), summed(RNG, "npm_"), jwt(RNG), pem(RNG)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill(30)
    made.sync()
    return made


def refusal(body: str, before: str = "") -> str:
    with pytest.raises(SecretFound) as e:
        refuse_secrets("a/b.md", body.encode(), before=before.encode())
    said = f"{e.value} {e.value.to_dict()} {e.value!r}"
    assert not [x for x in (TOKEN, OTHER, JWT, KEY.split("\n")[1]) if x in said]
    assert (e.value.exit, e.value.http) == (2, 422)
    return e.value.message


def test_a_refusal_names_kinds_and_lines_only() -> None:
    assert refusal(f"x\n{TOKEN}\n") == "a/b.md would hold a GitHub token on line 2."
    assert refusal(f"{TOKEN}\n\n{OTHER} {JWT}\n{KEY}") == (
        "a/b.md would hold a GitHub token on line 1, an npm token on line 3, a JSON web token on line 3"
        " and a private key on line 4."
    )
    assert refusal(f"{TOKEN}\n" * 9).endswith("a GitHub token on line 5 and 4 more secrets.")
    with pytest.raises(SecretFound, match=r"--redact .* --allow-secret"):
        refuse_secrets("a.md", TOKEN.encode())


def test_what_stood_in_the_note_before_is_not_refused() -> None:
    refuse_secrets("a.md", b"nothing")
    refuse_secrets("a.md", f"new line\nmoved {TOKEN}".encode(), before=f"{TOKEN}\n".encode())
    assert refusal(f"{TOKEN}\n{OTHER}\n", TOKEN) == "a/b.md would hold an npm token on line 2."
    assert refusal(f"{TOKEN}\n{TOKEN}\n", TOKEN) == "a/b.md would hold a GitHub token on line 2."


def test_masking_keeps_every_other_byte() -> None:
    body = b"\xef\xbb\xbf---\r\nx: \xff\x00\r\n---\r\n" + f"a {TOKEN} b {OTHER}\r\n{KEY}\r\n".encode() + b"\xc3"
    lines = KEY.count("\n")
    want = b"\xef\xbb\xbf---\r\nx: \xff\x00\r\n---\r\na [redacted GitHub token] b " + OTHER.encode()
    want += b"\r\n[redacted private key]" + b"\n" * lines + b"\r\n\xc3"
    assert redacted(body, before=OTHER.encode()) == want
    assert redacted(want, before=OTHER.encode()) == want
    refuse_secrets("a.md", redacted(body))


def test_masking_goes_on_until_none_is_left() -> None:
    """What stood directly behind a secret began no token, and begins one once that is masked."""
    body = f"ya29.{'k7QzRb4WmXd9HsTy2FpC' * 100}{TOKEN}"
    assert len(find_secrets(body)) == 1
    assert redacted(body.encode()) == b"[redacted Google access token][redacted GitHub token]"


def test_check_tells_of_secrets_when_asked(place: Place) -> None:
    place.put("a b.md", f"---\ntoken: {TOKEN}\n---\nx\n{KEY}\n")
    place.put("ok.md", "A token is a word.\n")
    place.sync()
    assert look(place, deep=False).ok
    for deep in (False, True):
        found = look(place, deep=deep, secrets=True)
        assert not found.ok
        assert [(f.kind, f.path, f.message) for f in found.findings] == [
            ("secret", "a b.md", "Line 2: GitHub token."),
            ("secret", "a b.md", "Line 5: private key."),
        ]
        assert found.findings[0].cure == "holdfast edit 'a b.md'  # its history has it, too: holdfast forget 'a b.md'"
        assert TOKEN not in str(found)
        assert KEY.split("\n")[1] not in str(found)


def test_a_note_that_is_too_large_is_told(place: Place) -> None:
    place.put("large.md", "x " * SMALL.note_bytes)
    place.sync()
    found = look(place, deep=False, secrets=True)
    assert [f.path for f in found.findings if f.kind == "unscanned"] == ["large.md"]
    assert not found.ok


def test_a_note_that_is_gone_is_none(place: Place) -> None:
    place.put("gone.md", TOKEN)
    place.sync()
    os.unlink(f"{place.root}/gone.md")
    assert kinds(look(place, deep=False, secrets=True)) == {"behind"}


def test_a_deep_check_tells_of_merges_left_undone(place: Place) -> None:
    place.put("merge.md", MERGE)
    place.put("code.md", f"```\n{MERGE}```\n")
    place.sync()
    assert kinds(look(place, deep=False)) == set()
    found = look(place, deep=True)
    assert [(f.kind, f.path, f.message) for f in found.findings] == [
        ("conflict_markers", "merge.md", "A merge was left undone on line 2.")
    ]
    assert found.ok


def test_memory_is_that_of_a_note(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "PAGE", 8)
    peaks = []
    for count in (100, 400):
        for i in range(count):
            place.put(f"n/{i:04d}.md", f"{TOKEN}\n" + "word " * 500)
        place.sync()
        with place.open(config=SMALL) as vault:
            index = vault._ws.index()
            assert index is not None
            next(privacy.scan(vault._ws, index))  # caches, once
            tracemalloc.start()
            assert sum(1 for _ in privacy.scan(vault._ws, index)) == count
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 20_000
