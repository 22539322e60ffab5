"""Vectors as bytes: codes, signs, checksums, estimates, the archive; and what an embedder is given for a chunk."""

from __future__ import annotations

import io
import json
import random
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from holdfast.errors import UserError
from holdfast.index.vectors import archive
from holdfast.index.vectors.codes import VectorRow, bits_size, checksum, rows, signs
from holdfast.index.vectors.scan import Block, Vectors, cosines, lengths
from holdfast.model import Chunk, fold, speaker_byte
from holdfast.text.inputs import CONTEXT_CHARS, TITLE_CHARS, input_digest, inputs
from holdfast.text.traits import COUNT_MAX, COUNT_SHIFTS, Trait, traits

DIMENSIONS = (1, 8, 63, 64, 65, 100, 384, 768)


def unit(count: int, dimension: int, seed: int = 0) -> Any:
    raw = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


def digests(count: int, seed: int = 0) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(16) for _ in range(count)]


def made(count: int, dimension: int = 64, seed: int = 0, *, tokens: bool = True) -> list[VectorRow]:
    rng = np.random.default_rng(seed)
    own = [rng.integers(-127, 128, (i % 4, 64)).astype(np.int8) if tokens and i % 3 else None for i in range(count)]
    return rows(digests(count, seed), unit(count, dimension, seed), own)


def held(vectors: Any, given: list[VectorRow], *, exact: bool) -> Vectors:
    """All of it in blocks of 100."""
    blocks = {}
    for number, at in enumerate(range(0, len(given), 100)):
        part = given[at : at + 100]
        codes = np.frombuffer(b"".join(r.code for r in part), np.int8).reshape(len(part), -1)
        blocks[number] = Block(
            seq=1,
            ids=np.arange(at, at + len(part)) + 1,
            keys=np.frombuffer(b"".join(r.input[:8] for r in part), np.uint64),
            bits=np.frombuffer(b"".join(r.bits for r in part), np.uint64).reshape(len(part), -1),
            codes=codes if exact else None,
        )
    return Vectors(1, 1, vectors.shape[1], blocks)


class TestCodes:
    @pytest.mark.parametrize("dimension", DIMENSIONS)
    def test_a_code_points_where_the_vector_does(self, dimension: int) -> None:
        vectors = unit(200, dimension)
        for row, vector in zip(rows(digests(200), vectors, [None] * 200), vectors, strict=True):
            code = np.frombuffer(row.code, np.int8).astype(np.float32)
            assert len(code) == dimension
            assert abs(code).max() == 127
            assert code @ vector / np.linalg.norm(code) >= 0.9999

    @pytest.mark.parametrize("dimension", DIMENSIONS)
    def test_signs_are_padded_to_whole_words(self, dimension: int) -> None:
        vectors = unit(50, dimension)
        words = signs(vectors)
        assert words.shape == (50, bits_size(dimension) // 8)
        assert bits_size(dimension) % 8 == 0
        assert bits_size(dimension) * 8 - dimension in range(64)
        for word, vector in zip(words, vectors, strict=True):
            bits = [bool(int(word[i // 64]) >> (i % 64) & 1) for i in range(len(word) * 64)]
            assert bits[:dimension] == [bool(x > 0) for x in vector]
            assert not any(bits[dimension:])

    def test_lengths_do_not_matter(self) -> None:
        vectors = unit(20, 64)
        assert rows(digests(20), vectors * np.float32(4), [None] * 20) == rows(digests(20), vectors, [None] * 20)

    def test_a_vector_of_zeros_is_a_row_like_any_other(self) -> None:
        row = rows([bytes(16)], np.zeros((1, 8), np.float32), [None])[0]
        assert (row.code, row.is_whole) == (bytes(8), True)
        assert cosines(np.zeros((1, 8), np.int8), unit(1, 8)[0]).tolist() == [0.0]
        assert lengths(np.zeros((1, 8), np.int8)).tolist() == [1.0]

    def test_the_checksum_sees_each_flipped_byte(self) -> None:
        row = made(3)[2]
        assert row.is_whole
        assert row.tokens
        for name in ("input", "code", "bits", "tokens"):
            good = getattr(row, name)
            for i in range(len(good)):
                for flip in (1, 128, 255):
                    bad = good[:i] + bytes([good[i] ^ flip]) + good[i + 1 :]
                    assert not replace(row, **{name: bad}).is_whole, (name, i)
        for bit in range(32):
            assert not replace(row, crc=row.crc ^ (1 << bit)).is_whole

    def test_the_checksum_sees_what_has_moved_from_one_part_to_another_row(self) -> None:
        a, b = made(2, tokens=False)
        assert not replace(a, input=b.input).is_whole
        assert not replace(a, code=b.code).is_whole
        assert a.crc == checksum(a.input, a.code, a.bits, a.tokens)


class TestScan:
    @pytest.mark.parametrize("dimension", [8, 100, 384])
    def test_exact_cosines(self, dimension: int) -> None:
        vectors, question = unit(250, dimension), unit(1, dimension, 9)[0]
        said = held(vectors, rows(digests(250), vectors, [None] * 250), exact=True).similarities(question)
        assert said == pytest.approx(vectors @ question, abs=0.02 if dimension > 8 else 0.05)
        exact = [_cosine(r.code, question) for r in rows(digests(250), vectors, [None] * 250)]
        assert said == pytest.approx(exact, abs=1e-6)

    @pytest.mark.parametrize("dimension", [100, 384])
    def test_estimates_are_near_the_real_cosines(self, dimension: int) -> None:
        vectors = unit(1_000, dimension)
        question = unit(1, dimension, 9)[0]
        # From opposite to the same, so that every angle is met.
        mixed = vectors + question * np.linspace(-3, 3, 1_000, dtype=np.float32)[:, None]
        mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
        found = held(mixed, rows(digests(1_000), mixed, [None] * 1_000), exact=False)
        assert not found.is_exact
        error = found.similarities(question) - mixed @ question
        assert abs(error).mean() < 1.2 / dimension**0.5
        assert abs(error.mean()) < 0.25 / dimension**0.5
        assert found.similarities(mixed[7])[7] == 1.0
        assert found.similarities(-mixed[7])[7] == pytest.approx(-1.0)

    def test_rows_are_found_by_key(self) -> None:
        given = made(250, tokens=False)
        found = held(unit(250, 64), given, exact=True)
        keys = np.frombuffer(b"".join(r.input[:8] for r in given[::-1]), np.uint64)
        assert found.find(keys).tolist() == list(range(250))[::-1]
        assert found.find(np.array([1, 2], np.uint64)).tolist() == [-1, -1]
        assert Vectors(1, 0, 64, {}).find(keys[:3]).tolist() == [-1, -1, -1]
        assert len(Vectors(1, 0, 64, {}).similarities(unit(1, 64)[0])) == 0


def _cosine(code: bytes, question: Any) -> float:
    values = np.frombuffer(code, np.int8).astype(np.float64)
    return float(values @ question / np.linalg.norm(values))


def written(given: list[VectorRow], identity: str = "model x", dimension: int = 64) -> bytes:
    file = io.BytesIO()
    archive.write_head(file, identity, dimension)
    for row in given:
        archive.write_row(file, row)
    return file.getvalue()


def read(data: bytes) -> tuple[tuple[str, int], list[VectorRow]]:
    file = io.BytesIO(data)
    return archive.read_head(file), list(archive.read_rows(file))


def spans(given: list[VectorRow], dimension: int = 64) -> list[tuple[int, int]]:
    """Where each record lies in what `written` gives."""
    at, out = len(written([], dimension=dimension)), []
    for row in given:
        size = 36 + len(row.code) + len(row.bits) + len(row.tokens)
        out.append((at, at + size))
        at += size
    return out


class TestArchive:
    @pytest.mark.parametrize("count", [0, 1, 2, 100])
    def test_what_is_written_is_read(self, count: int) -> None:
        given = made(count)
        assert read(written(given, 'a "model" ü', 64)) == (('a "model" ü', 64), given)

    def test_the_title_in_the_head_names_the_format(self) -> None:
        assert written([]).startswith(b"holdfast-vectors 1 {")

    def test_one_larger_than_any_buffer(self) -> None:
        given = made(3_000, 1_536, tokens=False)
        data = written(given, dimension=1_536)
        assert len(data) > 5 << 20
        assert read(data)[1] == given

    @pytest.mark.parametrize("seed", range(30))
    def test_damage_costs_the_records_it_touches_and_no_other(self, seed: int) -> None:
        rng = random.Random(seed)
        given = made(60)
        data = bytearray(written(given))
        at = rng.randrange(len(written([])), len(data))
        size = rng.choice([1, 1, 3, 50, 500, 2_000])
        for i in range(at, min(at + size, len(data))):
            data[i] ^= rng.randrange(1, 256)
        hurt = [lo < at + size and at < hi for lo, hi in spans(given)]
        assert any(hurt)
        assert read(bytes(data))[1] == [r for r, is_hurt in zip(given, hurt, strict=True) if not is_hurt]

    @pytest.mark.parametrize("what", ["cut out", "put in", "magic put in"])
    def test_bytes_that_are_missing_or_too_many(self, what: str) -> None:
        given = made(60)
        data = written(given)
        at = spans(given)[30][0] + 11
        if what == "cut out":
            assert read(data[:at] + data[at + 200 :])[1] == given[:30] + given[32:]
        else:
            odd = b"HFV1" * 50 if what == "magic put in" else bytes(200)
            assert read(data[:at] + odd + data[at:])[1] == given[:30] + given[31:]

    def test_a_file_that_ends_early(self) -> None:
        given = made(30)
        data = written(given)
        for cut in (1, 4, 40, 150, 1_000):
            whole = [r for r, (_, hi) in zip(given, spans(given), strict=True) if hi <= len(data) - cut]
            assert read(data[:-cut])[1] == whole

    @pytest.mark.parametrize(("mib", "fill"), [(1, b"\0"), (4, b"\0"), (5, b"\0"), (9, b"\0"), (2, b"HFV1")])
    def test_a_long_stretch_of_damage_costs_nothing_behind_it(self, mib: int, fill: bytes) -> None:
        """A disk gives back whole stretches of zeros; the buffer that reads has 4 MiB."""
        given = made(12_000, 768, tokens=False)
        data = written(given, dimension=768)
        assert len(data) > 10 << 20
        places = spans(given, 768)
        at, size = places[100][0], mib << 20
        damaged = data[:at] + (fill * size)[:size] + data[at + size :]
        left = [r for r, (lo, hi) in zip(given, places, strict=True) if hi <= at or lo >= at + size]
        assert len(left) < len(given)
        got = read(damaged)[1]
        assert len(got) == len(left)  # said first: two lists of rows make a long message
        assert all(a == b for a, b in zip(got, left, strict=True))

    def test_a_record_behind_damage_that_lies_across_the_end_of_a_buffer(self) -> None:
        given = made(6_000, 768, tokens=False)
        data, places = written(given, dimension=768), spans(given, 768)
        edge = places[0][0] + (4 << 20)
        n = next(i for i, (lo, hi) in enumerate(places) if lo < edge < hi)
        damaged = data[: places[5][0]] + bytes(places[n][0] - places[5][0]) + data[places[n][0] :]
        got = [r.input for r in read(damaged)[1]]
        assert got == [r.input for r in given[:5] + given[n:]]

    def test_sizes_that_lie(self) -> None:
        given = made(3, tokens=False)
        for sizes in ((1 << 31, 0, 0), (0, 1 << 20, 1 << 20), (1 << 20, 1 << 20, 1 << 20), (4294967295,) * 3):
            lie = struct.pack("<4sIII16s", b"HFV1", *sizes, bytes(16))
            assert read(written([]) + lie + written(given)[len(written([])) :])[1] == given

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\n",
            b"# A note\n",
            b"SQLite format 3\0" + bytes(100),
            archive.TITLE,
            archive.TITLE + b"\n",
            archive.TITLE + b"{",
            archive.TITLE + b"[]\n",
            archive.TITLE + b"null\n",
            archive.TITLE + b"{}\n",
            archive.TITLE + b'{"embedder": "x"}\n',
            archive.TITLE + b'{"embedder": "x", "dimension": "many"}\n',
            archive.TITLE + b'{"embedder": "x", "dimension": null}\n',
            archive.TITLE + b'{"embedder": "x", "dimension": 1e999}\n',
            archive.TITLE + b'{"embedder": "\xff", "dimension": 3}\n',
            archive.TITLE + b"[" * 60_000 + b"\n",
            b"holdfast-vectors 2 {}\n",
            random.Random(1).randbytes(100_000),
        ],
        ids=lambda d: repr(d[:24]),
    )
    def test_what_is_no_archive_is_refused(self, data: bytes) -> None:
        with pytest.raises(UserError) as e:
            archive.read_head(io.BytesIO(data))
        assert e.value.hint

    def test_noise_holds_no_record(self) -> None:
        assert list(archive.read_rows(io.BytesIO(random.Random(2).randbytes(200_000)))) == []
        assert list(archive.read_rows(io.BytesIO(b"HFV1" * 20_000))) == []

    def test_the_head_is_one_line_of_json(self) -> None:
        line = written([], "x\ny").partition(b"\n")[0]
        assert json.loads(line[len(archive.TITLE) :]) == {"embedder": "x\ny", "dimension": 64}


def passage(text: str, heading: str = "") -> Chunk:
    return Chunk(0, len(text), 1, 1, heading, text, b"")


def turn(text: str, speaker: str = "Ana") -> Chunk:
    return Chunk(0, len(text), 1, 1, "", text, b"", speaker)


class TestInputs:
    def test_a_passage_comes_with_its_title_and_headings(self) -> None:
        made_ = inputs([passage("Water early.", "Garden > Beans"), passage("# Garden\n\nSun.", "Garden")], "Garden")
        assert [x.text for x in made_] == ["Garden > Beans\nWater early.", "Garden\nSun."]
        assert inputs([passage("Sun.", "Beans")], "Garden")[0].text == "Garden > Beans\nSun."
        assert inputs([passage("Sun.")], "Garden")[0].text == "Garden\nSun."
        assert inputs([passage("Garden")], "Garden")[0].text == "Garden"
        assert inputs([passage("# Garden", "Garden")], "Garden")[0].text == "Garden\n# Garden"
        assert inputs([passage("Sun.")], "")[0].text == "Sun."
        assert len(inputs([passage("Sun.", "x")], "t" * 999)[0].text) == TITLE_CHARS + len(" > x\nSun.")
        for x in made_:
            assert (x.start, x.end, x.is_turn, x.own) == (0, len(x.text), False, x.text)

    def test_a_turn_stands_between_its_neighbours(self) -> None:
        made_ = inputs([turn("Hello  there.\n"), turn("Yes?", "Bo"), turn("On Friday.")], "A talk")
        assert [x.text for x in made_] == [
            "Ana: Hello there.\nBo: Yes?",
            "Ana: Hello there.\nBo: Yes?\nAna: On Friday.",
            "Bo: Yes?\nAna: On Friday.",
        ]
        assert [x.own for x in made_] == ["Ana: Hello there.", "Bo: Yes?", "Ana: On Friday."]
        assert all(x.is_turn for x in made_)

    def test_neighbours_lend_the_end_that_is_nearer_and_passages_lend_nothing(self) -> None:
        long = "a" * 999 + " " + "b" * 999
        before, own, after = inputs([turn(long), turn("Yes."), turn(long)], "")
        assert own.text == "b" * CONTEXT_CHARS + "\nAna: Yes.\n" + "Ana: " + "a" * (CONTEXT_CHARS - 5)
        assert before.own == after.own == f"Ana: {long}"
        first, second = inputs([passage("A preface."), turn("Yes.")], "T")
        assert (first.text, second.text) == ("T\nA preface.", "Ana: Yes.")

    @pytest.mark.parametrize("speaker", ["Ana", "ana", "Bo", "Ünï", "日本", "", "x" * 500])
    def test_the_digest_says_what_it_is_of_and_who_speaks(self, speaker: str) -> None:
        of_turn, of_text = (inputs([c], "T")[0].digest for c in (turn("Yes.", speaker), passage("Yes.")))
        assert (len(of_turn), len(of_text)) == (16, 16)
        assert (of_turn[0] & 1, of_text[0] & 1) == (1, 0)
        assert of_turn[1] == speaker_byte(fold(speaker))

    def test_the_digest_covers_text_place_and_kind(self) -> None:
        base = input_digest("one two", 0, 3, None)
        others = [
            input_digest("one twO", 0, 3, None),
            input_digest("one two", 0, 4, None),
            input_digest("one two", 1, 3, None),
            input_digest("one two", 0, 3, "Ana"),
            input_digest("one two", 0, 3, "Bo"),
        ]
        assert len({base, *others}) == 6
        assert base == input_digest("one two", 0, 3, None)
        assert input_digest("one two", 0, 3, "ANA") == input_digest("one two", 0, 3, "Ana")
        assert input_digest("\udcff", 0, 1, None) != input_digest("\udcfe", 0, 1, None)
        evens = {input_digest(f"{n}", 0, 1, None)[0] for n in range(2_000)}
        assert evens == set(range(0, 256, 2))

    def test_a_neighbour_that_changes_changes_a_turn_and_no_further_one(self) -> None:
        said = [turn(f"Word {n}.", "Ana" if n % 2 else "Bo") for n in range(7)]
        before = [x.digest for x in inputs(said, "T")]
        after = [x.digest for x in inputs([*said[:3], turn("Other.", "Ana"), *said[4:]], "T")]
        assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False, False, False, True, True]
        assert [x.digest for x in inputs(said, "Another title")] == before

    def test_a_passage_keeps_its_digest_when_another_changes(self) -> None:
        parts = [passage(f"Text {n}.", "T > H") for n in range(4)]
        before = [x.digest for x in inputs(parts, "T")]
        after = [x.digest for x in inputs([parts[0], passage("New.", "T > H"), *parts[2:]], "T")]
        assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True, True]
        moved = [x.digest for x in inputs([parts[3], *parts[:3]], "T")]
        assert moved == [before[3], *before[:3]]
        assert not {x.digest for x in inputs(parts, "Other")} & set(before)


class TestTraits:
    @pytest.mark.parametrize(
        ("text", "before", "flags"),
        [
            ("Hello.", "", Trait(0)),
            ("Why?", "", Trait.ASKS | Trait.HAS_QUESTION),
            ("Why? ", "", Trait.ASKS | Trait.HAS_QUESTION),
            ("Why? Tell me.", "", Trait.HAS_QUESTION),
            ("Because.", "Why?", Trait.FOLLOWS_QUESTION),
            ("Because.", "Why. ", Trait(0)),
            ("We met yesterday.", "", Trait.TIME),
            ("It was in MAY 2021.", "", Trait.TIME),
            ("on Saturday", "", Trait.TIME),
            ("the lastly weeks", "", Trait(0)),
            ("", "", Trait(0)),
        ],
    )
    def test_flags(self, text: str, before: str, flags: Trait) -> None:
        assert Trait(traits(text, before) & 15) == flags

    def test_counts(self) -> None:
        held_ = traits("I met Bo and Cy, Dee. I said my name. Eve left")
        assert (held_ >> COUNT_SHIFTS["names"]) & COUNT_MAX == 3  # a name is a capital within a sentence
        assert (held_ >> COUNT_SHIFTS["first_person"]) & COUNT_MAX == 3
        assert traits("met Bo " * 99 + " I" * 99) == (COUNT_MAX << 4) | (COUNT_MAX << 9)
        assert 0 <= traits("I? yesterday Bo" * 999, "?") < 1 << 14
