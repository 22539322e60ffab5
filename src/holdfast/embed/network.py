"""One ONNX model, loaded: batches of tokens in, vectors and token states out.

`onnxruntime` and `tokenizers` are imported here, at first use: together they cost as much as all the rest of a start.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.embed.base import Floats
from holdfast.embed.words import Ids, Tokens, padded
from holdfast.errors import EmbedderDown, EmbedderWrong, MemoryBudget

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

LINES = ("line", "tokens")
"""The outputs that a model made by tools/build_minilm.py has for turns."""

MODEL_PLACES = ("model.onnx", os.path.join("onnx", "model.onnx"))
TOKENIZER = "tokenizer.json"
POOLING = os.path.join("1_Pooling", "config.json")

_SHORT_OF_MEMORY = ("bad_alloc", "bad alloc", "Failed to allocate", "out of memory", "BFCArena")
"""What onnxruntime's errors say then."""


def model_file(folder: str) -> str | None:
    """The model's file in `folder`, or None."""
    return next((p for name in MODEL_PLACES if os.path.isfile(p := os.path.join(folder, name))), None)


@dataclass(frozen=True, slots=True)
class States:
    """What a model makes of one text: its `vector`, of any length; its vector as a `line` of a conversation, and its
    `tokens` (all that were put in, projected), of which each has length `token_scale`."""

    vector: Floats
    line: Floats | None
    tokens: Floats | None


class Network:
    """A session and its tokenizer. May be used from several threads.

    A model is used for what it gives: `vector` pooled over the tokens marked in its input `own`, or a sentence's vector
    (any output of two dimensions), or the last hidden states, which are pooled here. Lines and tokens come only from a
    model with outputs of these names and `token_scale` in its metadata.
    """

    def __init__(self, folder: str, threads: int = 1) -> None:
        """`threads` are those of one run."""
        # From 1.29 on, onnxruntime reports to its makers unless it is told not to before it is loaded.
        # Test: e2e/test_silence.py.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        try:
            import onnxruntime
            from tokenizers import Tokenizer
        except ImportError as e:
            raise EmbedderDown(
                f"The local model needs {e.name or 'onnxruntime'}, which cannot be imported.",
                hint='Install Holdfast with its dependencies, or set `embedder = "none"`; keyword search goes on.',
            ) from e
        path = model_file(folder)
        if path is None:
            raise EmbedderDown(f"There is no model.onnx in {folder}.", hint="Install Holdfast again.")
        self._options = onnxruntime.RunOptions()
        self._options.only_execute_path_to_fetches = True
        try:
            self.session: InferenceSession = _session(path, threads)
            self.tokenizer: Tokenizer = Tokenizer.from_file(os.path.join(folder, TOKENIZER))
        except Exception as e:  # both raise kinds of their own for a file that is none
            raise _translated(e, f"The model in {folder} cannot be loaded") from e
        self.pad = int((self.tokenizer.padding or {}).get("pad_id", 0))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self._inputs = {i.name for i in self.session.get_inputs()}
        self._output, self.gives_sentence = self._chosen_output(folder)
        scale = self.session.get_modelmeta().custom_metadata_map.get("token_scale")
        names = {o.name for o in self.session.get_outputs()}
        self.token_scale = float(scale) if scale and names.issuperset(LINES) else None
        self._first_only = _pools_first(folder)

    def _chosen_output(self, folder: str) -> tuple[str, bool]:
        """The output that is used, and whether it is a vector of the whole text, so that context must stay out."""
        outputs = self.session.get_outputs()
        named = {o.name: o for o in outputs}
        if "own" in self._inputs and "vector" in named:
            return "vector", False
        for output in outputs:
            if len(output.shape) == 2:
                return output.name, True
        for output in outputs:
            if len(output.shape) == 3:
                return output.name, False
        raise EmbedderWrong(f"The model in {folder} has no output that is a vector or a sequence of states.")

    def run(self, batch: Sequence[Tokens], with_lines: bool) -> list[States]:
        """What the model makes of each text of a batch; lines and tokens only if they are asked for."""
        ids, mask, own = padded(list(batch), self.pad)
        known = {"input_ids": ids, "attention_mask": mask, "own": own, "token_type_ids": np.zeros_like(ids)}
        feed = {name: known[name] for name in self._inputs if name in known}
        wanted = [self._output, *(LINES if with_lines and self.token_scale else ())]
        try:
            found = self.session.run(wanted, feed, self._options)
        except Exception as e:  # onnxruntime's kinds are private to it; what they mean is in the text
            raise _translated(e, "The local model failed") from e
        vectors = found[0]
        if vectors.ndim == 3:
            vectors = vectors[:, 0] if self._first_only else _mean(vectors, own)
        if len(found) == 1:
            return [States(v, None, None) for v in vectors]
        return [States(*each) for each in zip(vectors, *found[1:], strict=True)]


def _session(path: str, threads: int) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    options.enable_mem_pattern = False  # batches have all shapes; a pattern for each would stay
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _mean(states: Floats, own: Ids) -> Floats:
    weights = own.astype(np.float32)
    return np.asarray(np.einsum("nld,nl->nd", states, weights), dtype=np.float32)


def _pools_first(folder: str) -> bool:
    """Whether the model's makers say that the first token's state is the text's (sentence-transformers' file)."""
    try:
        with open(os.path.join(folder, POOLING), encoding="utf-8") as file:
            stored: Any = json.load(file)
    except (OSError, ValueError):
        return False
    return isinstance(stored, dict) and bool(stored.get("pooling_mode_cls_token"))


def _translated(e: Exception, what: str) -> EmbedderDown | EmbedderWrong | MemoryBudget:
    """`e` as one of ours."""
    text = str(e).splitlines()[0] if str(e) else type(e).__name__
    if isinstance(e, MemoryError) or any(sign in str(e) for sign in _SHORT_OF_MEMORY):
        return MemoryBudget(f"{what}: not enough memory.", hint="Give the process more memory, or lower `threads`.")
    if isinstance(e, OSError):
        return EmbedderDown(f"{what}: {text}.")
    return EmbedderWrong(f"{what}: {text[:300]}.", hint="Check the files of the model, or install Holdfast again.")
