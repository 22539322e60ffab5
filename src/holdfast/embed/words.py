"""Text to token numbers for a local model: which tokens are a chunk's own, and what is left out of a long text.

The tokenizer's own settings for padding and truncation are not used: both depend on the batch, and context must go
before own words do. Texts are tokenised one by one: batches would start threads that outlive a fork badly.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = NDArray[np.int64]

MAX_TOKENS = 256
"""Of one text, with [CLS] and [SEP]: what the packaged model was trained with."""

MAX_CHARS = 32 * MAX_TOKENS
"""Characters of own words, and of context on either side, that are looked at."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """One text as the model sees it.

    `ids` has at most MAX_TOKENS numbers, special tokens included; [first, last) are the tokens to pool over, and
    [own_first, own_last) those of own words, which are the same but where the whole text is the chunk's own: there
    the special tokens are pooled too.
    """

    ids: Ids
    first: int
    last: int
    own_first: int
    own_last: int

    def __len__(self) -> int:
        return len(self.ids)


def tokenise(tokenizer: Tokenizer, text: str, start: int, end: int) -> Tokens:
    """`text` as tokens, of which those that end in the characters (start, end] are pooled over.

    Context goes first where the text is too long, the farthest of it. A tokenizer may count the space before a word to
    its token, therefore ends decide.
    """
    is_whole = start == 0 and end == len(text)
    end = min(end, start + MAX_CHARS)
    cut = max(0, start - MAX_CHARS)
    text, start, end = text[cut : end + MAX_CHARS], start - cut, end - cut
    if is_whole:
        text = text[:end]
    # A lone surrogate cannot be handed to the tokenizer; "?" keeps every offset.
    encoding = tokenizer.encode(text.encode("utf-8", "replace").decode("utf-8"))
    ids, special = encoding.ids, encoding.special_tokens_mask
    ends = [span[1] for span in encoding.offsets]
    lead = special.index(0) if 0 in special else len(ids)
    trail = special[::-1].index(0) if 0 in special else 0
    body = len(ids) - trail
    low, high = bisect_right(ends, start, lead, body), bisect_right(ends, end, lead, body)
    room = MAX_TOKENS - lead - trail
    high = min(high, low + room)
    before, after = _context(low - lead, body - high, room - (high - low))
    kept = ids[:lead] + ids[low - before : high + after] + ids[body:]
    first, last = lead + before, lead + before + high - low
    pooled = (0, len(kept)) if is_whole or first == last else (first, last)
    return Tokens(np.array(kept, np.int64), *pooled, first, last)


def _context(before: int, after: int, room: int) -> tuple[int, int]:
    """How much of the context on either side is kept: the nearest, and as much of one as of the other if it must."""
    kept = min(before, max(room // 2, room - after))
    return kept, min(after, room - kept)


def padded(batch: list[Tokens], pad: int) -> tuple[Ids, Ids, Ids]:
    """(ids, attention mask, mask of pooled tokens) of a batch, as long as its longest text."""
    shape = len(batch), max(map(len, batch))
    ids, mask, own = np.full(shape, pad, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for n, tokens in enumerate(batch):
        ids[n, : len(tokens)] = tokens.ids
        mask[n, : len(tokens)] = 1
        own[n, tokens.first : tokens.last] = 1
    return ids, mask, own
