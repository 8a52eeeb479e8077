"""On a GPU: the results of the CPU, to what each arithmetic allows, and the same promises."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from ulmfit.config.artefact import Member, Task
from ulmfit.config.model import CLASSIFIER_DROPOUT, ClassifierHeadConfig, Dropout, EncoderConfig
from ulmfit.config.text import TokenizerConfig
from ulmfit.config.training import TrainingConfig
from ulmfit.models.networks import ClassifierNetwork, LanguageModelNetwork
from ulmfit.models.text_classifier import ClassifierMember, TextClassifier
from ulmfit.stages.made_up import language_model_training, made_up_ids
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.training.device import Precision, autocast, resolve_device
from ulmfit.training.log import RunLog
from ulmfit.training.loop import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]

CPU = torch.device("cpu")
SHAPE = EncoderConfig(vocab_size=500, embedding_size=64, hidden_size=128, layers=3)
NO_DROPOUT = Dropout(embedding=0.0, input=0.0, hidden=0.0, weight=0.0, output=0.0)


@pytest.fixture
def gpu() -> torch.device:
    return resolve_device("cuda")


def loss_and_gradients(
    network: LanguageModelNetwork, ids: Tensor, precision: Precision = "float32"
) -> tuple[float, list[Tensor]]:
    """Of two windows, the state carried from the first to the second."""
    network.zero_grad()
    total, state = ids.new_zeros((), dtype=torch.float64), None
    with autocast(precision, ids.device):
        for part in torch.split(ids, 16, dim=1):
            raw, state = network.encoder(network.encoder.embed(part[:, :-1]), state)
            weight = network.encoder.embedding.weight
            loss, _ = network.head.loss(raw, part[:, 1:], weight)
            total = total + loss
    total.backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad.detach().cpu().double() for p in network.parameters() if p.grad is not None]
    return float(total.detach()), gradients


@pytest.mark.parametrize(
    ("precision", "bound"), [("float32", 1e-5), ("bfloat16", 3e-2), ("float16", 5e-3)]
)
def test_a_step_has_the_loss_and_gradients_of_double_precision(
    gpu: torch.device, precision: Precision, bound: float
) -> None:
    torch.manual_seed(0)
    network = LanguageModelNetwork(SHAPE, NO_DROPOUT)
    ids = torch.randint(0, SHAPE.vocab_size, (8, 32))
    loss, gradients = loss_and_gradients(copy.deepcopy(network).double(), ids)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # cuDNN's, of weights that are not in one block
        found, on_gpu = loss_and_gradients(network.to(gpu), ids.to(gpu), precision)
    assert found == pytest.approx(loss, rel=bound / 10)
    assert len(on_gpu) == len(gradients)
    for ours, exact in zip(on_gpu, gradients, strict=True):
        assert (ours - exact).norm() / exact.norm() < bound


def classifier(device: torch.device) -> TextClassifier:
    tokenizer = Tokenizer.train(["some words to learn, here and there"] * 9, TokenizerConfig())
    shape = EncoderConfig(
        vocab_size=tokenizer.vocab_size, embedding_size=64, hidden_size=128, layers=3
    )
    torch.manual_seed(1)
    network = ClassifierNetwork(shape, CLASSIFIER_DROPOUT, ClassifierHeadConfig(), 3)
    member = ClassifierMember(Member(direction="forward", prefix="forward"), network.to(device))
    return TextClassifier(
        [member], tokenizer, head=ClassifierHeadConfig(), task=Task(labels=("a", "b", "c"))
    )


def test_predictions_are_the_cpus_and_independent_of_the_batch(gpu: torch.device) -> None:
    texts = [f"some words {n} " * (1 + 7 * n % 60) for n in range(40)]
    on_cpu, on_gpu = classifier(CPU), classifier(gpu)
    together = on_gpu.predict_proba(texts)
    np.testing.assert_allclose(together, on_cpu.predict_proba(texts), rtol=0, atol=1e-5)
    alone = np.concatenate([on_gpu.predict_proba([text]) for text in texts])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_training_learns_and_leaves_no_step_out(gpu: torch.device, precision: Precision) -> None:
    torch.manual_seed(0)
    ids = made_up_ids(60_000, SHAPE.vocab_size)
    task, training = language_model_training(ids, SHAPE, gpu, batch_size=16, bptt=35)
    before = task.loss(next(task.batches(0, 0))).loss.item()
    task.carry({})
    results = train(
        task,
        TrainingConfig(batch_size=16, epochs=1.0, optimizer=training.optimizer),
        title="a",
        precision=precision,
        log=RunLog(None, quiet=True),
    )
    after = task.loss(next(task.batches(0, 0))).loss.item()
    assert after < before - 0.5
    assert results["skipped_steps"] <= (3 if precision == "float16" else 0)  # the scale settles
