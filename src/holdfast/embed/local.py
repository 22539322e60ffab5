"""Models that run in this process: the packaged one, or any ONNX model with its tokenizer in a folder."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from holdfast.embed.base import Asked, Codes, Encoded, Floats, checked, prefix_mark
from holdfast.embed.network import POOLING, TOKENIZER, Network, States, model_file
from holdfast.embed.words import Tokens, tokenise
from holdfast.errors import EmbedderDown, MemoryBudget
from holdfast.model import Input

PACKAGED = os.path.join(os.path.dirname(__file__), "minilm")

BATCH_TOKENS = 256
"""Padded tokens of a batch. Measured: up to here a batch stays in the caches, at 512 a text costs 6 % more, at 1024 a
tenth, at 4096 twice as much, and memory grows with it."""

THREADS = 2
"""Batches that run at the same time, each on one thread. Measured: a fifth quicker than one batch on two threads, which
wait for each other at each layer, and a question costs a quarter less."""

_Run = Callable[[list[int]], list[States]]
FOLDER = "Put the folder back, or name another in `embedder`; keyword search goes on."


class LocalEmbedder:
    """An ONNX model in `folder`; without one, the packaged model. Costs nothing until it is first used.

    The packaged model gives a text the same vector in any batch (cosine above .99999), because its ranges are
    constants, and one of cosine .992 or more (.998 in the mean) to the float32 original; .995 (.997) on processors
    without VNNI. With ranges taken from each batch, as other int8 models have them, a text alone and in a batch may be
    .973 apart, with the same model. Test: unit/test_embed_minilm.py.
    """

    is_remote = False

    def __init__(
        self, folder: str | None = None, *, threads: int = 0, query_prefix: str = "", passage_prefix: str = ""
    ) -> None:
        self.folder = folder or PACKAGED
        self.threads = threads or min(THREADS, os.cpu_count() or 1)
        self._prefixes = query_prefix, passage_prefix
        self._lock = threading.Lock()
        self._network: Network | None = None
        self._identity: str | None = None

    @property
    def identity(self) -> str:
        """What the vectors depend on. Reads the whole model once, but the packaged one's digest is stored."""
        if self._identity is None:
            digest = _stored_digest() if self.folder == PACKAGED else folder_digest(self.folder)
            self._identity = f"onnx:{digest}{prefix_mark(*self._prefixes)}"
        return self._identity

    def encode(self, inputs: Sequence[Input]) -> Encoded:
        network = self._loaded()
        prefix = self._prefixes[1]
        texts = [self._tokens(network, item, prefix) for item in inputs]
        tokens: list[Codes | None] = [None] * len(inputs)
        vectors: dict[int, Floats] = {}

        def run(batch: list[int]) -> list[States]:
            return _run(network, [texts[n] for n in batch], any(inputs[n].is_turn for n in batch))

        planned = list(batches(texts))
        for batch, states in zip(planned, self._side_by_side(run, planned), strict=True):
            for n, found in zip(batch, states, strict=True):
                vectors[n] = found.vector
                if inputs[n].is_turn and found.line is not None and found.tokens is not None:
                    vectors[n] = found.line
                    tokens[n] = _codes(found.tokens[texts[n].own_first : texts[n].own_last])
        if not inputs:
            return Encoded(np.empty((0, 0), np.float32), ())
        rows = [vectors[n] for n in range(len(inputs))]
        return Encoded(checked(rows, len(inputs), None, "The local model"), tokens)

    def ask(self, question: str) -> Asked:
        network = self._loaded()
        text = self._prefixes[0] + question
        tokens = tokenise(network.tokenizer, text, 0, len(text))
        (found,) = _run(network, [tokens], True)
        out = checked([found.vector], 1, None, "The local model")[0]
        if found.tokens is None or network.token_scale is None:
            return Asked(out)
        rows = found.tokens[tokens.own_first : tokens.own_last] / np.float32(network.token_scale**2)
        name = network.tokenizer.id_to_token
        return Asked(out, rows, tuple(name(int(i)) or "" for i in tokens.ids[tokens.own_first : tokens.own_last]))

    def _side_by_side(self, run: _Run, planned: list[list[int]]) -> Iterator[list[States]]:
        """What `run` gives for each batch, in order. No thread outlives the call: a fork would not have it."""
        if self.threads == 1 or len(planned) == 1:
            yield from map(run, planned)
            return
        with ThreadPoolExecutor(self.threads) as workers:
            yield from workers.map(run, planned)

    def close(self) -> None:
        """Give the model's memory back; the next use loads it again."""
        with self._lock:
            self._network = None

    def _loaded(self) -> Network:
        with self._lock:
            if self._network is None:
                self._network = Network(self.folder)
            return self._network

    def _tokens(self, network: Network, item: Input, prefix: str) -> Tokens:
        if network.gives_sentence:
            text = prefix + item.own
            return tokenise(network.tokenizer, text, 0, len(text))
        is_whole = item.start == 0 and item.end == len(item.text)
        start = 0 if is_whole else len(prefix) + item.start
        return tokenise(network.tokenizer, prefix + item.text, start, len(prefix) + item.end)


def batches(texts: Sequence[Tokens]) -> Iterator[list[int]]:
    """The numbers of `texts`, longest first, in batches of at most BATCH_TOKENS once padded."""
    batch: list[int] = []
    for n in sorted(range(len(texts)), key=lambda n: -len(texts[n])):
        if batch and len(texts[batch[0]]) * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(n)
    if batch:
        yield batch


def _run(network: Network, batch: list[Tokens], with_lines: bool) -> list[States]:
    """What the network makes of each text; a batch that memory is too short for is tried once more in halves."""
    try:
        return network.run(batch, with_lines)
    except MemoryBudget:
        if len(batch) == 1:
            raise
    half = len(batch) // 2
    return network.run(batch[:half], with_lines) + network.run(batch[half:], with_lines)


def _codes(states: Floats) -> Codes:
    return np.clip(np.rint(states), -127, 127).astype(np.int8)


def _stored_digest() -> str:
    try:
        with open(os.path.join(PACKAGED, "digest"), encoding="ascii") as file:
            return file.read().strip()
    except OSError as e:
        raise EmbedderDown("The packaged model is missing.", hint="Install Holdfast again.") from e


def folder_digest(folder: str) -> str:
    """The digest of a model and its tokenizer, weights beside the model included."""
    path = model_file(folder)
    if path is None:
        raise EmbedderDown(f"The embedder's folder {folder} has neither model.onnx nor onnx/model.onnx.", hint=FOLDER)
    try:
        beside = sorted(name for name in os.listdir(os.path.dirname(path)) if name.startswith("model.onnx"))
    except OSError as e:
        raise EmbedderDown(f"The embedder's folder {folder} cannot be read: {e.strerror}.", hint=FOLDER) from e
    paths = [os.path.join(os.path.dirname(path), name) for name in beside] + [os.path.join(folder, TOKENIZER)]
    if os.path.exists(pooling := os.path.join(folder, POOLING)):
        paths.append(pooling)  # it chooses which of the model's states is the vector
    whole = hashlib.blake2b(digest_size=16)
    for name in paths:
        try:
            with open(name, "rb") as file:
                whole.update(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest())
        except OSError as e:
            raise EmbedderDown(f"{name} cannot be read: {e.strerror}.", hint=FOLDER) from e
    return whole.hexdigest()
