"""Make an answer fit a number of tokens, without changing its order. Pure.

A token is ceil(UTF-8 bytes / 4) of what is emitted, which is the answer's JSON.
"""

from __future__ import annotations

import json
from dataclasses import replace

from holdfast.results import Answer, Hit, Receipt


def tokens(value: object) -> int:
    """The tokens of `value` as JSON."""
    return -(-size_bytes(value) // 4)


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def size_bytes(value: object) -> int:
    """The UTF-8 bytes of `value` as JSON."""
    return len(_encode(value).encode("utf-8", "surrogatepass"))


def fit(answer: Answer, budget: int) -> Answer:
    """The answer within `budget` tokens: texts are cut from the last hit up, to a line each, then hits are dropped."""
    hits = list(answer.hits)
    sizes = [size_bytes(h.to_dict()) + 1 for h in hits]
    limit = budget * 4
    # The remark on what was cut is emitted too; room for it is kept from the start.
    frame = size_bytes(replace(answer, hits=()).to_dict()) + 80
    dropped = 0
    if frame + sum(sizes) > limit:
        for i in range(len(hits) - 1, -1, -1):
            over = frame + sum(sizes) - limit
            if over <= 0:
                break
            shorter = _shorten(hits[i], over)
            if shorter is not hits[i]:
                hits[i] = shorter
                sizes[i] = size_bytes(shorter.to_dict()) + 1
        while hits and frame + sum(sizes) > limit:
            hits.pop()
            sizes.pop()
            dropped += 1
    cut = sum(hit is not whole for hit, whole in zip(hits, answer.hits, strict=False))
    receipt = _with_remark(answer.receipt, cut, dropped, budget)
    # Commas stand between hits only; four more bytes are room for the number of tokens itself.
    size = size_bytes(replace(answer, hits=(), receipt=receipt, tokens=0).to_dict()) + sum(sizes) - bool(hits)
    return replace(answer, hits=tuple(hits), receipt=receipt, tokens=-(-(size + 4) // 4))


def _shorten(hit: Hit, over: int) -> Hit:
    """The hit without its last lines, as few of them as make up for `over` bytes, one line kept."""
    if not hit.text:
        return hit
    lines = hit.text.split("\n")
    while len(lines) > 1 and over > 0:
        over -= len(lines.pop().encode("utf-8", "surrogatepass")) + 2
    text = "\n".join(lines).rstrip()
    return hit if text == hit.text else replace(hit, text=text)


def _with_remark(receipt: Receipt, cut: int, dropped: int, budget: int) -> Receipt:
    if not (cut or dropped):
        return receipt
    words = []
    if cut:
        words.append(f"{cut} text{'s' * (cut != 1)} cut")
    if dropped:
        words.append(f"{dropped} hit{'s' * (dropped != 1)} dropped")
    return replace(receipt, degraded=(*receipt.degraded, f"{' and '.join(words)} to fit {budget} tokens"))
