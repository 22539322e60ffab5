"""Tokens of a text: which are pooled, and what is left out where there are too many."""

from __future__ import annotations

import os

import numpy as np
import pytest
from tokenizers import Encoding, Tokenizer

from holdfast.embed.local import BATCH_TOKENS, PACKAGED, batches
from holdfast.embed.words import MAX_CHARS, MAX_TOKENS, Tokens, padded, tokenise

CLS, SEP = 101, 102


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    made = Tokenizer.from_file(os.path.join(PACKAGED, "tokenizer.json"))
    made.no_padding()
    made.no_truncation()
    return made


def words(tokenizer: Tokenizer, tokens: Tokens, first: int, last: int) -> str:
    return " ".join(tokenizer.id_to_token(int(i)) for i in tokens.ids[first:last])


def test_a_whole_text_is_pooled_with_its_special_tokens(tokenizer: Tokenizer) -> None:
    tokens = tokenise(tokenizer, "hello big world", 0, 15)
    assert tokens.ids[0] == CLS
    assert tokens.ids[-1] == SEP
    assert (tokens.first, tokens.last) == (0, 5)
    assert words(tokenizer, tokens, tokens.own_first, tokens.own_last) == "hello big world"


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("Jon: yes.", "jon : yes ."),
        ("大阪 ok", "大 [UNK] ok"),
        ("é à́ï", "e ai"),
        ("\U0001f389 x", "[UNK] x"),
        ("a\u200bb", "ab"),
    ],
)
def test_own_tokens_are_found_by_their_place(tokenizer: Tokenizer, own: str, expected: str) -> None:
    before, after = "Ann: hi! 大é\U0001f389\n", "\nKim: oh ünder"
    tokens = tokenise(tokenizer, before + own + after, len(before), len(before + own))
    assert words(tokenizer, tokens, tokens.first, tokens.last) == expected
    assert (tokens.first, tokens.last) == (tokens.own_first, tokens.own_last)
    assert tokens.ids[0] == CLS
    assert tokens.ids[-1] == SEP


@pytest.mark.parametrize("own", ["", " \n "])
def test_without_own_words_all_is_pooled(tokenizer: Tokenizer, own: str) -> None:
    tokens = tokenise(tokenizer, "before" + own + " after", 6, 6 + len(own))
    assert tokens.own_first == tokens.own_last
    assert (tokens.first, tokens.last) == (0, len(tokens))


def test_context_goes_first_and_the_farthest_of_it(tokenizer: Tokenizer) -> None:
    before, own, after = "far near " * 100, "own " * 100, "close away " * 100
    tokens = tokenise(tokenizer, before + own + after, len(before), len(before + own))
    assert len(tokens) == MAX_TOKENS
    assert words(tokenizer, tokens, tokens.first, tokens.last) == " ".join(["own"] * 100)
    assert words(tokenizer, tokens, 1, tokens.first) == " ".join(["near"] + ["far near"] * 38)
    assert words(tokenizer, tokens, tokens.last, len(tokens) - 1) == " ".join(["close away"] * 38 + ["close"])
    assert tokens.first - 1 == len(tokens) - 1 - tokens.last == (MAX_TOKENS - 2 - 100) // 2


def test_context_that_one_side_has_no_use_for_is_the_others(tokenizer: Tokenizer) -> None:
    before, own, after = "few words ", "own " * 100, "after " * 400
    tokens = tokenise(tokenizer, before + own + after, len(before), len(before + own))
    assert len(tokens) == MAX_TOKENS
    assert tokens.first == 3
    assert tokens.last == 103
    before, after = "before " * 400, " few words"
    tokens = tokenise(tokenizer, before + own + after, len(before), len(before + own))
    assert len(tokens) == MAX_TOKENS
    assert words(tokenizer, tokens, tokens.last, len(tokens) - 1) == "few words"
    assert tokens.first == MAX_TOKENS - 1 - 2 - 100


def test_own_words_are_cut_at_their_end(tokenizer: Tokenizer) -> None:
    before, own = "before ", "first " + "own " * 400
    tokens = tokenise(tokenizer, before + own + "after", len(before), len(before + own))
    assert len(tokens) == MAX_TOKENS
    assert (tokens.first, tokens.last) == (1, MAX_TOKENS - 1)
    assert words(tokenizer, tokens, 1, 3) == "first own"


class Counting:
    """A tokenizer that keeps how many characters it was given."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self.most = tokenizer, 0

    def encode(self, text: str) -> Encoding:
        self.most = max(self.most, len(text))
        return self._tokenizer.encode(text)


def test_a_text_of_a_megabyte_is_not_read_to_its_end(tokenizer: Tokenizer) -> None:
    counting = Counting(tokenizer)
    text = "word " * 200_000
    for start, end in ((0, len(text)), (500_000, 500_009), (500_000, len(text))):
        tokens = tokenise(counting, text, start, end)  # type: ignore[arg-type]
        assert len(tokens) == MAX_TOKENS
        assert counting.most <= 3 * MAX_CHARS
    assert np.array_equal(tokenise(tokenizer, text, 0, len(text)).ids, tokenise(tokenizer, text[:2000], 0, 2000).ids)


def some(length: int) -> Tokens:
    return Tokens(np.arange(length), 0, length, 0, length)


def test_a_batch_is_padded_to_its_longest(tokenizer: Tokenizer) -> None:
    ids, mask, own = padded([some(3), Tokens(np.arange(5), 1, 3, 1, 3)], 9)
    assert ids.tolist() == [[0, 1, 2, 9, 9], [0, 1, 2, 3, 4]]
    assert mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert own.tolist() == [[1, 1, 1, 0, 0], [0, 1, 1, 0, 0]]


def test_batches_hold_texts_of_like_length_and_no_more_than_the_limit() -> None:
    lengths = [200, 3, 256, 90, 90, 4, 5, 256, 90, 90, 90, 90, 2]
    found = list(batches([some(n) for n in lengths]))
    assert sorted(n for batch in found for n in batch) == list(range(len(lengths)))
    assert all(len(batch) * max(lengths[n] for n in batch) <= BATCH_TOKENS for batch in found)
    assert [lengths[n] for batch in found for n in batch] == sorted(lengths, reverse=True)
    assert len(found) < len(lengths)
