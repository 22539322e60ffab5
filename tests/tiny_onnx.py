"""Model folders of a few kilobytes, like those that other tools export: ONNX written field by field, without `onnx`.

Field numbers are those of onnx.proto3. Each token's state is its row in a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "ant", "bee", "cow", "dog", "eel", "fox", "gnu", "hen", "query", "passage"]
WIDTH = 16
FLOAT, INT64 = 1, 7

TABLE = np.random.default_rng(7).normal(size=(len(WORDS), WIDTH)).astype(np.float32)
"""The state of each of WORDS."""


def _varint(n: int) -> bytes:
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def _field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    value = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _node(kind: str, inputs: Sequence[str], output: str, *attributes: bytes) -> bytes:
    out = b"".join(_field(1, name) for name in inputs) + _field(2, output) + _field(4, kind)
    return _field(1, out + b"".join(_field(5, a) for a in attributes))


def _integers(name: str, *values: int) -> bytes:
    return _field(1, name) + b"".join(_field(8, v) for v in values) + _field(20, 7)


def _integer(name: str, value: int) -> bytes:
    return _field(1, name) + _field(3, value) + _field(20, 2)


def _value(number: int, name: str, kind: int, shape: Sequence[str | int]) -> bytes:
    sizes = b"".join(_field(1, _field(2, s) if isinstance(s, str) else _field(1, s)) for s in shape)
    return _field(number, _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, sizes))))


def model(*, pooled: bool = False, types: bool = False) -> bytes:
    """A model with `last_hidden_state`, or with `sentence_embedding`, the sum over all tokens that are no padding."""
    state = "last_hidden_state"
    nodes = _node("Gather", ["table", "input_ids"], state)
    output = _value(12, state, FLOAT, ["n", "length", WIDTH])
    if pooled:
        nodes += _node("Cast", ["attention_mask"], "mask", _integer("to", FLOAT))
        nodes += _node("Unsqueeze", ["mask"], "row", _integers("axes", 1)) + _node("MatMul", ["row", state], "total")
        nodes += _node("Squeeze", ["total"], "sentence_embedding", _integers("axes", 1))
        output = _value(12, "sentence_embedding", FLOAT, ["n", WIDTH])
    tensor = _field(1, TABLE.shape[0]) + _field(1, WIDTH) + _field(2, FLOAT) + _field(8, "table")
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if types else [])]
    inputs = b"".join(_value(11, name, INT64, ["n", "length"]) for name in names)
    graph = nodes + _field(2, "tiny") + _field(5, tensor + _field(9, TABLE.tobytes())) + inputs + output
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 11))


def folder(where: Path, *, below: str = "", pooled: bool = False, types: bool = False) -> str:
    """A folder at `where` with such a model, in `below` if its files lie deeper, and its tokenizer."""
    (where / below).mkdir(parents=True)
    (where / below / "model.onnx").write_bytes(model(pooled=pooled, types=types))
    tokenizer = Tokenizer(WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    # What a file asks for must not apply: 8 tokens would lose words, and padding would be pooled.
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=64, pad_id=0)
    tokenizer.save(str(where / "tokenizer.json"))
    return str(where)


def state_of(*words: str) -> np.ndarray:
    """The mean state of `words`, of length 1."""
    mean = TABLE[[WORDS.index(word) for word in words]].mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))
