"""What stages 1 and 2 have in common: a language model learns from a token store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ulmfit.config.artefact import Member
from ulmfit.config.data import LanesConfig
from ulmfit.config.model import Direction
from ulmfit.config.stages import LanguageModelTrainingConfig, RegularizationConfig
from ulmfit.data.lanes import Lanes, Window, check_validation, validation_windows
from ulmfit.data.token_store import TokenStore
from ulmfit.errors import ConfigError
from ulmfit.models.language_model import LanguageModel
from ulmfit.models.networks import LanguageModelNetwork
from ulmfit.nn.awd_lstm import State, detach
from ulmfit.nn.dropout import apply_mask
from ulmfit.nn.language_head import regularization
from ulmfit.nn.sampled_softmax import chances, draw_sample, sampled_loss
from ulmfit.stages.part import train_part
from ulmfit.stages.run_folder import RunFolder
from ulmfit.training import processes
from ulmfit.training.device import Precision
from ulmfit.training.loop import StepLoss
from ulmfit.training.metrics import TokenLoss

Documents = tuple[TokenStore, np.ndarray | None]
"""A token store, and the documents of it to use (None: all)."""

VALIDATION_LANES, DOCUMENTS_A_LANE = 32, 4
"""Validation text is read in at most so many lanes, of at least so many documents each."""


class LanguageModelTask:
    """Predict the next token, over contiguous lanes with the state carried (AWD-LSTM)."""

    def __init__(
        self,
        network: LanguageModelNetwork,
        member: Member,
        lanes: LanesConfig,
        regularization: RegularizationConfig,
        batch_size: int,
        seed: int,
        training: Documents,
        validation: Documents | None,
        sampled_words: int = 0,
    ) -> None:
        """Train `network` on `training` to read in the direction of `member`."""
        self.module: nn.Module = network
        self.network, self.member = network, member
        self.lanes_config, self.regularization = lanes, regularization
        if validation is not None:
            check_validation(*validation)
        self.validation = validation
        self.lanes = Lanes(
            training[0],
            batch_size=batch_size,
            bptt=lanes.bptt,
            variable=lanes.variable_bptt,
            direction=member.direction,
            begin_mark=member.begin_mark,
            seed=seed,
            documents=training[1],
        )
        self.batch_size, self.rows = batch_size, processes.own_block(batch_size)
        self.share = (self.rows.stop - self.rows.start) / batch_size
        if not self.share:
            raise ConfigError(
                f"setting 'batch_size': {batch_size} lanes cannot be shared by "
                f"{processes.count()} processes; make it at least {processes.count()}"
            )
        self.device = network.head.bias.device
        self.chances: Tensor | None = None
        if sampled_words:
            frequencies = training[0].frequencies(network.encoder.config.vocab_size)
            self.chances = chances(torch.from_numpy(frequencies), sampled_words).to(self.device)
        self._state: State | None = None

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Return the network's layer groups, lowest first."""
        return self.network.layer_groups()

    def batch_count(self, epoch: int) -> int:
        """Return the number of windows of an epoch."""
        return self.lanes.window_count(epoch)

    def batches(self, epoch: int, start: int) -> Iterator[Window]:
        """Yield the windows of an epoch from number `start`."""
        return self.lanes.windows(epoch, start, self.rows)

    def loss(self, batch: Window) -> StepLoss:
        """Return the mean negative log-likelihood of a window, with AR and TAR.

        Of several processes, each its share: the mean over its lanes times its share of them.
        """
        state = None if batch.first else self._state
        masks = self.network.encoder.draw_masks(self.batch_size)
        masks = None if masks is None else masks.rows(self.rows)
        ids, targets = self._tensors(batch)
        vectors = self.network.encoder.embed(ids, masks)
        raw, state = self.network.encoder(vectors, state, masks)
        self._state = detach(state)
        mask = self.network.head.draw_mask(self.batch_size, raw)
        dropped = apply_mask(raw, None if mask is None else mask[self.rows])
        nll, count = self._loss(dropped, targets)
        penalty = regularization(
            raw, dropped, targets, self.regularization.alpha, self.regularization.beta
        )
        tokens = self.batch_size * batch.ids.shape[1]
        return StepLoss((nll / count + penalty) * self.share, tokens, batch.rate_scale)

    def evaluate(self) -> dict[str, float]:
        """Return the loss, perplexity and bits per byte over all validation tokens."""
        if self.validation is None:
            return {}
        bptt = self.lanes_config.bptt
        total = evaluate_language_model(self.network, self.member, bptt, *self.validation)
        return {
            "loss": total.loss,
            "perplexity": total.perplexity,
            "bits_per_byte": total.bits_per_byte,
        }

    def criterion(self, metrics: dict[str, float]) -> float:
        """Return the mean loss of a token."""
        return metrics["loss"]

    def carried(self) -> dict[str, Tensor]:
        """Return the carried LSTM state of all lanes, by layer and name."""
        layers = self._state or ()
        return {
            f"{i}.{n}": processes.joint_rows(t, self.rows, self.batch_size)
            for i, pair in enumerate(layers)
            for n, t in zip("hc", pair, strict=True)
        }

    def carry(self, tensors: dict[str, Tensor]) -> None:
        """Take up the state that `carried` returned."""
        layers = range(len(tensors) // 2)
        state = tuple((tensors[f"{i}.h"], tensors[f"{i}.c"]) for i in layers)
        own = ((h[self.rows], c[self.rows]) for h, c in state)
        self._state = tuple((h.to(self.device), c.to(self.device)) for h, c in own) or None

    def _loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Summed loss and count of the targets [batch, time], over all words or a sample."""
        head, weight = self.network.head, self.network.encoder.embedding.weight
        if self.chances is None:
            return head.loss(outputs, targets, weight)
        return sampled_loss(outputs, targets, weight, head.bias, draw_sample(self.chances))

    def _tensors(self, window: Window) -> tuple[Tensor, Tensor]:
        ids, targets = torch.from_numpy(window.ids), torch.from_numpy(window.targets)
        return ids.to(self.device), targets.to(self.device)


def part_of(direction: Direction) -> str:
    """Return the name of the part of a run in which a direction's language model learns."""
    return f"language_model.{direction}"


def language_model_task(
    model: LanguageModel,
    settings: LanguageModelTrainingConfig,
    training: Documents,
    validation: Documents | None,
) -> LanguageModelTask:
    """Return what the loop trains `model` on."""
    return LanguageModelTask(
        model.network,
        model.member,
        settings.lanes,
        settings.regularization,
        settings.training.batch_size,
        settings.training.seed,
        training,
        validation,
        settings.sampled_words,
    )


def train_language_model(
    run: RunFolder,
    model: LanguageModel,
    settings: LanguageModelTrainingConfig,
    training: Documents,
    validation: Documents | None,
    precision: Precision,
) -> dict[str, Any]:
    """Train `model`, or take its weights from where the run left them; return the results."""
    torch.manual_seed(settings.training.seed)

    def task() -> LanguageModelTask:
        return language_model_task(model, settings, training, validation)

    return train_part(
        run, part_of(model.member.direction), model.network, task, settings.training, precision
    )


@torch.no_grad()
def evaluate_language_model(
    network: LanguageModelNetwork,
    member: Member,
    bptt: int,
    store: TokenStore,
    documents: np.ndarray | None = None,
) -> TokenLoss:
    """Score every token of `store` but the first, once, the state carried along each lane."""
    network.eval()
    device = network.head.bias.device
    chosen = np.arange(len(store)) if documents is None else documents
    lanes = max(1, min(VALIDATION_LANES, len(chosen) // DOCUMENTS_A_LANE))
    layers, rows, state = network.encoder.prepare(), processes.own_block(lanes), None
    total = torch.zeros(2, dtype=torch.float64)  # loss and tokens
    for window in validation_windows(
        store,
        batch_size=lanes,
        bptt=bptt,
        direction=member.direction,
        begin_mark=member.begin_mark,
        documents=documents,
        rows=rows,
    ):
        if rows.start == rows.stop:
            break  # more processes than lanes
        ids = torch.from_numpy(window.ids).to(device)
        targets = torch.from_numpy(window.targets).to(device)
        outputs, state = network.encoder(network.encoder.embed(ids), state, layers=layers)
        loss, count = network.head.loss(outputs, targets, network.encoder.embedding.weight)
        total += torch.tensor([float(loss), int(count)], dtype=torch.float64)
    nll, tokens = processes.add_up(total).tolist()
    text_bytes, words = (int(size) for size in store.sizes[chosen].sum(0))
    return TokenLoss(nll=nll, tokens=int(tokens), text_bytes=text_bytes, words=words)
