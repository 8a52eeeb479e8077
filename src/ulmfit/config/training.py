"""Settings of the one training loop: optimiser, schedule, unfreezing, checkpoints."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from ulmfit.config.model import Probability
from ulmfit.config.settings import settings

Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]


@settings
class OptimizerConfig:
    """The update rule and the rate of each layer group."""

    name: Literal["adam", "adamw", "radam", "sgd"] = "adamw"
    """`adam` adds weight decay to the gradient, `adamw` (fastai's default) and `radam` decouple
    it."""

    learning_rate: Positive = 4e-3
    """Largest rate of the last layer group. Paper: 0.004 language model, 0.01 classifier."""

    betas: tuple[Probability, Probability] = (0.7, 0.99)
    """Adam's two decay rates. Paper: 0.7 and 0.99."""

    epsilon: Positive = 1e-7
    """Adam's denominator floor."""

    momentum: Probability = 0.0
    """SGD's momentum."""

    weight_decay: NotNegative = 0.01
    """Shrinkage of all weights."""

    discriminative_factor: Annotated[float, Field(ge=1.0)] = 2.6
    """Each lower layer group's rate is the next one's divided by this; 1 turns it off.
    Paper, section 3.2: 2.6."""


@settings
class ScheduleConfig:
    """How the rate moves over the steps of a cycle."""

    name: Literal[
        "slanted_triangular", "one_cycle", "cosine", "flat_cosine", "warm_restarts", "constant"
    ] = "slanted_triangular"
    """Paper, section 3.2: the slanted triangle. `flat_cosine`: the largest rate, then a cosine.
    `warm_restarts`: cosines, each twice as long as the one before (SGDR)."""

    cut_frac: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Share of the steps during which the rate rises (paper: 0.1) or, with `flat_cosine`, stays
    (fastai: 0.75)."""

    ratio: Annotated[float, Field(ge=1.0)] = 32.0
    """How much smaller the lowest rate is than the largest; `one_cycle` has its own. Paper: 32."""

    cycles: Annotated[int, Field(ge=1, le=20)] = 3
    """Cosines of `warm_restarts`."""


@settings
class TrainingConfig:
    """What the loop does, whatever is trained."""

    epochs: Annotated[float, Field(gt=0.0)] = 1.0
    """Passes over the training data; a fraction ends within a pass."""

    batch_size: Annotated[int, Field(ge=1)] = 64
    """Lanes of a language model, documents of a classifier (at least 2). Paper: 64."""

    accumulation: Annotated[int, Field(ge=1)] = 1
    """Batches whose gradients are added up before one step of the optimiser."""

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """The update rule."""

    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """The rate over the steps."""

    unfreezing: Literal["gradual", "published", "last", "chain_thaw", "full"] = "full"
    """Which layer groups train when: `gradual`, one more from the last, an epoch each (paper,
    section 3.3); `published`, the last, the last two, all, each with a cycle of its own (the
    2018 scripts); `last` only; `chain_thaw` (Felbo et al. 2017); `full`, all from the start."""

    clip_gradient: NotNegative = 0.25
    """Largest norm of the gradient of a step; 0 turns clipping off."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of the products. `auto`: bfloat16 on a GPU that has it, and on a CPU where a short
    trial finds it faster; else float32. Resolved once and kept with the run."""

    evaluate_every: Annotated[float, Field(gt=0.0)] = 1.0
    """Epochs between two evaluations on the validation data."""

    patience: Annotated[int, Field(ge=0)] = 0
    """Evaluations without a better one after which training stops early; 0: never."""

    averaging: Annotated[int, Field(ge=0)] = 0
    """Evaluations without a better one after which the weights are averaged from there on, for
    evaluation and at the end; 0: never. 5 with `sgd` at a constant rate is NT-ASGD (Merity et al.
    2017, section 5)."""

    keep_best: bool = True
    """End with the weights of the best evaluation rather than the last."""

    checkpoint_minutes: Positive = 10.0
    """Minutes between two checkpoints."""

    checkpoint_steps: Annotated[int, Field(ge=0)] = 0
    """Steps between two checkpoints, if above 0, instead of minutes."""

    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads of PyTorch; 0: PyTorch's own choice. Kept with the run: with another number
    the same seed gives other last bits."""

    device: str = "auto"
    """`auto` (CUDA if there is one, else the CPU), `cpu`, `cuda`, `cuda:1`, `mps`."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of every random draw: the same seed gives the same bits on the same CPU."""
