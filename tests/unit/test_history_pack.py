"""Versions packed against each other come back byte for byte, and damage is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.history.pack import DamagedVersionError, is_alone, pack, unpack

texts = st.one_of(st.binary(max_size=300), st.text(alphabet="ab \n", max_size=300).map(str.encode))


@given(texts, texts)
def test_any_version_against_any_other(body: bytes, base: bytes) -> None:
    packed = pack(body, base)
    assert unpack(packed, base) == body
    assert len(packed) <= len(body) + 1
    if is_alone(packed):
        assert unpack(packed) == body
    assert unpack(pack(body)) == body


@given(texts, st.integers(0, 300), texts, st.integers(0, 40))
def test_an_edit(base: bytes, at: int, new: bytes, gone: int) -> None:
    body = base[:at] + new + base[at + gone :]
    assert unpack(pack(body, base), base) == body


def test_an_edit_is_small() -> None:
    import random

    r = random.Random(1)
    base = bytes(r.choices(b"abcdefghij \n", k=1_000_000))
    body = base[:500_000] + b"one more line\n" + base[500_000:]
    assert len(pack(body, base)) < 60
    assert unpack(pack(body, base), base) == body


@given(texts, texts, st.integers(0, 400), st.integers(0, 255))
def test_damage_is_said_or_seen_by_the_digest(body: bytes, base: bytes, at: int, byte: int) -> None:
    packed = bytearray(pack(body, base))
    packed[at % len(packed)] = byte
    for damaged in (bytes(packed), bytes(packed[: at % len(packed)])):
        try:
            unpack(damaged, base)
        except DamagedVersionError:
            pass


def test_what_it_leans_on_is_needed() -> None:
    packed = pack(b"a" * 1000 + b"b", b"a" * 1000)
    assert not is_alone(packed)
    for base in (None, b"a"):
        with pytest.raises(DamagedVersionError):
            unpack(packed, base)
