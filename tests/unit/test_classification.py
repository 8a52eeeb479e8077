from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from ulmfit.config.artefact import Task
from ulmfit.config.model import ClassifierHeadConfig, Dropout, EncoderConfig
from ulmfit.config.stages import ClassifierStage
from ulmfit.config.training import TrainingConfig
from ulmfit.errors import ConfigError
from ulmfit.models.networks import ClassifierNetwork
from ulmfit.stages.classification import ClassificationTask, LabelledIds, class_weights
from ulmfit.training import processes
from ulmfit.training.log import RunLog
from ulmfit.training.loop import train
from ulmfit.training.optimizers import build_optimizer, set_trainable

LABELS = ("a", "b", "c")
TASK = Task(labels=LABELS)
NO_DROPOUT = Dropout(embedding=0, input=0, hidden=0, weight=0, output=0)
STAGE = ClassifierStage(
    bptt=5, training=TrainingConfig(epochs=3.0, batch_size=4, unfreezing="gradual")
)


def documents(count: int, seed: int = 0) -> LabelledIds:
    """Ids whose second one tells the class."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, len(LABELS), count)
    ids = [
        np.concatenate([[2, 10 + label], rng.integers(20, 40, rng.integers(0, 30))])
        for label in classes
    ]
    return LabelledIds(ids, classes)


def task(
    stage: ClassifierStage = STAGE,
    chunks: int = 100,
    *,
    training: LabelledIds | None = None,
    validation: LabelledIds | None = None,
    dropout: Dropout = NO_DROPOUT,
) -> ClassificationTask:
    torch.manual_seed(0)
    shape = EncoderConfig(vocab_size=40, embedding_size=4, hidden_size=6, layers=2)
    head = ClassifierHeadConfig(hidden_sizes=(5,), dropout=0.0)
    network = ClassifierNetwork(shape, dropout, head, len(LABELS))
    network.encoder.embedding.weight.data.mul_(10)  # words that can be told apart
    return ClassificationTask(network, stage, chunks, training or documents(23), validation, TASK)


# Batches


def test_an_epoch_reads_each_document_once_in_an_order_of_its_own() -> None:
    made = task()
    by_epoch = [list(made.batches(epoch, 0)) for epoch in range(3)]
    for epoch, batches in enumerate(by_epoch):
        assert len(batches) == made.batch_count(epoch) == 6
        seen = np.concatenate([batch.indices for batch in batches])
        assert sorted(seen) == list(range(23))
        assert {batch.bptt for batch in batches} == {5}
    orders = {tuple(batch.indices.tolist()) for batches in by_epoch for batch in batches}
    assert len(orders) > 12


@pytest.mark.parametrize("variable", [False, True])
def test_batches_from_a_start_are_the_tail(variable: bool) -> None:
    stage = replace(STAGE, bptt=40, variable_bptt=variable)
    whole = [list(task(stage).batches(epoch, 0)) for epoch in (0, 1)]
    made = task(stage)
    torch.manual_seed(99)
    for epoch in (1, 0):
        for start in range(8):
            tail = list(made.batches(epoch, start))
            assert [b.bptt for b in tail] == [b.bptt for b in whole[epoch][start:]]
            for found, expected in zip(tail, whole[epoch][start:], strict=True):
                np.testing.assert_array_equal(found.indices, expected.indices)


def test_variable_bptt_draws_a_length_a_batch() -> None:
    made = task(replace(STAGE, bptt=40, variable_bptt=True))
    lengths = [batch.bptt for epoch in range(20) for batch in made.batches(epoch, 0)]
    assert len(set(lengths)) > 10 and 35 < np.median(lengths) < 45
    assert min(lengths) >= 5


def test_another_seed_gives_other_batches() -> None:
    other = replace(STAGE, training=replace(STAGE.training, seed=1))
    first, second = next(task().batches(0, 0)), next(task(other).batches(0, 0))
    assert first.indices.tolist() != second.indices.tolist()


# Loss


def reference_loss(made: ClassificationTask, indices: Any, **options: Any) -> torch.Tensor:
    """Each document read alone and whole; the head's batch norm needs them together."""
    pooled = []
    for i in indices:
        ids = torch.from_numpy(made.training.documents[i])[None]
        outputs, _ = made.network.encoder(made.network.encoder.embed(ids))
        pooled.append(torch.cat([outputs[0, -1], outputs[0].amax(0), outputs[0].mean(0)]))
    logits = made.network(torch.stack(pooled))
    targets = torch.from_numpy(made.training.targets[indices])
    return F.cross_entropy(logits, targets, **options)


@pytest.mark.parametrize("weights", ["none", "balanced", {"b": 5.0}])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_is_that_of_documents_read_alone(weights: Any, smoothing: float) -> None:
    made = task(replace(STAGE, class_weights=weights, label_smoothing=smoothing))
    for batch in made.batches(0, 0):
        step = made.loss(batch)
        of_class = class_weights(weights, made.training.targets, TASK)
        expected = reference_loss(made, batch.indices, weight=of_class, label_smoothing=smoothing)
        torch.testing.assert_close(step.loss, expected)
        assert step.tokens == sum(len(made.training.documents[i]) for i in batch.indices)
        assert step.rate_scale == 1.0


def gradients(made: ClassificationTask) -> dict[str, torch.Tensor]:
    made.network.train()
    (batch,) = made.batches(0, 0)
    made.network.zero_grad()
    made.loss(batch).loss.backward()  # type: ignore[no-untyped-call]
    return {n: p.grad.clone() for n, p in made.network.named_parameters() if p.grad is not None}


def test_the_gradient_window_is_the_last_chunks() -> None:
    """A window over all chunks is the whole gradient; one of the last chunk leaves the others."""
    training = LabelledIds([np.arange(2, 17), np.arange(2, 17)[::-1].copy()], np.array([0, 1]))
    stage = replace(STAGE, training=TrainingConfig(batch_size=2))
    whole, three, one = (gradients(task(stage, n, training=training)) for n in (100, 3, 1))
    for name in whole:
        torch.testing.assert_close(whole[name], three[name])
    embedding = "encoder.embedding.weight"
    assert whole[embedding][3].abs().sum() > 0
    first_document_middle = [7, 8, 9, 10, 11]  # in the second chunk of both documents
    assert one[embedding][first_document_middle].abs().sum() == 0
    assert one[embedding][14].abs().sum() > 0
    assert one.keys() == whole.keys() and all(g.isfinite().all() for g in one.values())


@pytest.mark.parametrize("chunks", [1, 2, 100])
def test_any_window_learns(chunks: int) -> None:
    training = replace(STAGE.training, batch_size=30)
    made = task(replace(STAGE, training=training), chunks, training=documents(30))
    (batch,) = made.batches(0, 0)
    optimizer = torch.optim.Adam(made.network.parameters(), lr=0.03)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = made.loss(batch).loss
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.75 * losses[0]


def test_frozen_layers_get_no_gradient_and_do_not_move() -> None:
    made = task()
    groups = made.layer_groups()
    names = {id(p): n for n, p in made.network.named_parameters()}
    assert [sorted({names[id(p)].rsplit(".", 1)[0] for p in group}) for group in groups[:3]] == [
        ["encoder.embedding"],
        ["encoder.layers.0"],
        ["encoder.layers.1"],
    ]
    assert sum(map(len, groups)) == len(names)
    optimizer = build_optimizer(groups, STAGE.training.optimizer)
    made.network.train()
    for lowest in reversed(range(len(groups))):
        set_trainable(optimizer, tuple(range(lowest, len(groups))))
        made.loss(next(made.batches(0, 0))).loss.backward()  # type: ignore[no-untyped-call]
        for number, group in enumerate(groups):
            for parameter in group:
                assert (parameter.grad is not None) == (number >= lowest), names[id(parameter)]
        optimizer.zero_grad()


def test_a_process_without_a_document_learns_nothing_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = task(training=documents(2))
    monkeypatch.setattr(processes, "count", lambda: 4)
    monkeypatch.setattr(processes, "rank", lambda: 3)
    monkeypatch.setattr(processes, "add_up", lambda tensor: tensor)
    groups = made.layer_groups()
    optimizer = build_optimizer(groups, STAGE.training.optimizer)
    made.network.train()
    for number in range(len(groups)):
        set_trainable(optimizer, (number,))
        made.loss(next(made.batches(0, 0))).loss.backward()  # type: ignore[no-untyped-call]
        optimizer.zero_grad()


def test_the_gradual_plan_moves_one_more_layer_an_epoch(tmp_path: Any) -> None:
    made = task()
    moved: list[list[bool]] = []
    before = [[p.detach().clone() for p in group] for group in made.layer_groups()]
    loss, steps = made.loss, made.batch_count(0)

    def watched(batch: Any) -> Any:
        moved.append(
            [
                any(not torch.equal(p, q) for p, q in zip(group, old, strict=True))
                for group, old in zip(made.layer_groups(), before, strict=True)
            ]
        )
        return loss(batch)

    made.loss = watched  # type: ignore[method-assign]
    training = replace(STAGE.training, epochs=5.0)
    train(made, training, title="t", precision="float32", log=RunLog(tmp_path / "log", True))
    for batch, layers in enumerate(moved):
        opened = min(4, (batch - 1) // steps + 1) if batch else 0
        assert layers == [False] * (4 - opened) + [True] * opened, batch


# Evaluation


def test_the_criterion_is_lower_for_the_better() -> None:
    worse = {"loss": 0.9, "accuracy": 0.6, "macro_f1": 0.5}
    better = {"loss": 0.3, "accuracy": 0.8, "macro_f1": 0.7}
    for metric in ("loss", "accuracy", "macro_f1"):
        made = task(replace(STAGE, metric=metric))
        assert made.criterion(better) < made.criterion(worse)
    assert task(replace(STAGE, metric="macro_f1")).criterion({**worse, "loss": 0.0}) == -0.5


def test_evaluation_reads_all_documents_without_dropout() -> None:
    made = task(validation=documents(31, seed=5), dropout=Dropout())
    made.network.train()
    first, second = made.evaluate(), made.evaluate()
    assert first == second and "calibration_error" in first
    assert 0.5 < first["loss"] < 2.5 and first["accuracy"] + first["error"] == 1.0


def test_without_validation_nothing_is_measured() -> None:
    assert task().evaluate() == {}
    assert task(validation=LabelledIds([], np.array([], np.int64))).evaluate() == {}
    assert task().carried() == {}


# Class weights


def test_balanced_weights_are_scikit_learns() -> None:
    classes = np.array([0, 0, 0, 0, 1, 2, 2])
    found = class_weights("balanced", classes, TASK)
    assert found is not None and found.dtype == torch.float32
    expected = compute_class_weight("balanced", classes=np.arange(3), y=classes)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_given_weights_are_by_name_and_others_1() -> None:
    classes = np.array([0, 1, 2])
    assert class_weights("none", classes, TASK) is None
    found = class_weights({"c": 2.5}, classes, TASK)
    assert found is not None and found.tolist() == [1.0, 1.0, 2.5]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"d": 1.0}, "'classifier.class_weights': label 'd' is none of .* labels are a, b, c"),
        ({"a": -1.0}, "'classifier.class_weights': label 'a' has weight -1.0; .* above 0"),
        ({"a": 0.0}, "'classifier.class_weights': label 'a' has weight 0.0; .* above 0"),
    ],
)
def test_wrong_weights_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        class_weights(setting, np.array([0, 1, 2]), TASK)
