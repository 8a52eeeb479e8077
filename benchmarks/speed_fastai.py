"""What `speed.py` times of fastai: run in an environment of its own, without this project."""

import json
import time

import numpy as np
import torch
from answering import answer, ids_of
from fastai.callback.core import Callback, CancelFitException
from fastai.data.core import DataLoaders
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import Adam
from fastai.text.core import TokenizeWithRules, WordTokenizer, parallel_tokenize
from fastai.text.data import LMDataLoader, SortedDL, TensorText, pad_input_chunk
from fastai.text.learner import LMLearner, TextDataLoaders, TextLearner, text_classifier_learner
from fastai.text.models import AWD_LSTM, awd_lstm_clas_split, awd_lstm_lm_split
from fastai.text.models.awdlstm import awd_lstm_clas_config, awd_lstm_lm_config
from fastai.text.models.core import get_language_model, get_text_classifier

WARM_UP_STEPS = 2
kept = {}


class Clock(Callback):
    """Times the first `steps` batches of a training, then ends it, before fastai validates."""

    order = 90

    def __init__(self, steps):
        self.steps, self.seconds, self.tokens, self.seen = steps, 0.0, 0, 0

    def before_batch(self):
        if self.seen == 0:
            self.began = time.perf_counter()
        self.tokens += int((self.xb[0] != 1).sum())

    def after_batch(self):
        self.seen += 1
        if self.seen == self.steps:
            self.seconds = time.perf_counter() - self.began
            raise CancelFitException


class Autocast(Callback):
    """Forward and loss under autocast, as fastai's own `MixedPrecision` on a GPU."""

    order = -10

    def before_batch(self):
        self.context = torch.autocast("cpu", torch.bfloat16)
        self.context.__enter__()

    def after_loss(self):
        self.context.__exit__(None, None, None)


def autocast_of(asked):
    enabled = asked.get("precision") == "bfloat16"
    return torch.autocast("cpu", torch.bfloat16, enabled=enabled)


def config_of(base, shape):
    sizes = {"embedding_size": "emb_sz", "hidden_size": "n_hid", "layers": "n_layers"}
    return {**base, **{name: shape[key] for key, name in sizes.items()}}


def fit(learner, asked):
    """Time the first steps of an epoch, after a training of a few to warm up."""
    callbacks = [Autocast()] if asked.get("precision") == "bfloat16" else []
    with learner.no_bar(), learner.no_logging():
        for steps in (WARM_UP_STEPS, asked["steps"]):
            clock = Clock(steps)
            learner.fit(1, 1e-3, cbs=[clock, *callbacks])
    return {"seconds": clock.seconds, "tokens": clock.tokens}


def language_model(asked):
    name = json.dumps(asked["shape"])
    if name not in kept:
        documents = [TensorText(torch.from_numpy(part)) for part in ids_of(asked).reshape(-1, 1000)]
        loader = LMDataLoader(documents, bs=asked["batch"], seq_len=asked["bptt"], shuffle=True)
        shape = asked["shape"]
        network = get_language_model(
            AWD_LSTM, shape["vocab_size"], config_of(awd_lstm_lm_config, shape)
        )
        kept[name] = LMLearner(
            DataLoaders(loader, loader),
            network,
            loss_func=CrossEntropyLossFlat(),
            splitter=awd_lstm_lm_split,
            opt_func=Adam,
        )
    return fit(kept[name], asked)


def classifier(asked):
    name = json.dumps(asked["shape"])
    shape = asked["shape"]
    if name not in kept:
        rng = np.random.default_rng(0)
        documents = [
            (
                TensorText(torch.from_numpy(rng.integers(8, shape["vocab_size"], n))),
                torch.tensor(i % 2),
            )
            for i, n in enumerate(asked["lengths"])
        ]
        loader = SortedDL(
            documents,
            bs=asked["batch"],
            before_batch=lambda batch: pad_input_chunk(batch, pad_idx=1, seq_len=72),
            sort_func=lambda document: len(document[0]),
            shuffle=True,
        )
        network = get_text_classifier(
            AWD_LSTM, shape["vocab_size"], 2, config=config_of(awd_lstm_clas_config, shape),
            drop_mult=1.0, max_len=16 * 72,
        )  # fmt: skip
        kept[name] = TextLearner(
            DataLoaders(loader, loader),
            network,
            loss_func=CrossEntropyLossFlat(),
            splitter=awd_lstm_clas_split,
        )
    learner, found = kept[name], []
    for groups in range(1, 3 + shape["layers"]):
        learner.freeze_to(-groups)
        found.append(fit(learner, asked))
    return {key: [each[key] for each in found] for key in ("seconds", "tokens")}


def predict(asked):
    """Seconds from texts to probabilities, tokenizing counted."""
    if "model" not in kept:
        import pandas as pd

        frame = pd.DataFrame(
            {"text": asked["vocabulary"], "label": [i % 2 for i in range(len(asked["vocabulary"]))]}
        )
        loaders = TextDataLoaders.from_df(frame, text_col="text", label_col="label", valid_pct=0.1)
        kept["model"] = text_classifier_learner(
            loaders,
            AWD_LSTM,
            pretrained=False,
            config=config_of(awd_lstm_clas_config, asked["shape"]),
        )
    learner = kept["model"]
    with learner.no_bar(), learner.no_logging(), autocast_of(asked):
        began = time.perf_counter()
        loader = learner.dls.test_dl(asked["texts"])
        learner.get_preds(dl=loader)
    return {"seconds": time.perf_counter() - began, "tokens": 0}


def one_by_one(asked):
    learner, seconds = kept["model"], []
    with learner.no_bar(), learner.no_logging(), autocast_of(asked):
        for text in asked["texts"]:
            began = time.perf_counter()
            learner.predict(text)
            seconds.append(time.perf_counter() - began)
    return {"seconds": seconds}


def tokenize(asked):
    """In one process, or in several as fastai starts them for a folder or a table.

    Its words are not counted: tokens a second are those of our pieces, on every side.
    """
    if "tokenizer" not in kept:
        kept["tokenizer"] = TokenizeWithRules(tok=WordTokenizer())
    began = time.perf_counter()
    if "processes" in asked:
        list(parallel_tokenize(asked["texts"], n_workers=asked["processes"]))
    else:
        list(kept["tokenizer"](asked["texts"]))
    return {"seconds": time.perf_counter() - began, "tokens": 0}


TASKS = {
    "language model": language_model,
    "classifier": classifier,
    "predict": predict,
    "one by one": one_by_one,
    "tokenize": tokenize,
}


def main():
    """Answer until there is nothing more to read."""
    torch.manual_seed(0)
    answer(TASKS, ("fastai", "torch", "spacy"))


if __name__ == "__main__":
    main()
