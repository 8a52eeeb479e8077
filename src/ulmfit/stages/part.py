"""A part of a run, such as the forward language model: trained once, then kept by the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ulmfit.config.training import TrainingConfig
from ulmfit.stages.run_folder import RunFolder
from ulmfit.training.device import Precision
from ulmfit.training.loop import Task, train


def train_part(
    run: RunFolder,
    part: str,
    module: nn.Module,
    make_task: Callable[[], Task],
    config: TrainingConfig,
    precision: Precision,
) -> dict[str, Any]:
    """Train `module` as the task says and return the results; `run` keeps both under `part`.

    A resumed run gives `module` the weights of a part that is finished, without making its task,
    and goes on with one that is not from its checkpoint.
    """
    done = run.finished(part)
    if done is not None:
        weights, results = done
        module.load_state_dict(weights)
        return results
    checkpoint = run.checkpoint(part)
    results = train(
        make_task(), config, title=part, precision=precision, log=run.log, checkpoint=checkpoint
    )
    run.finish(part, module.state_dict(), results)
    return results
