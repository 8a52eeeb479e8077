"""Several processes that train one model: what comes out is what one process gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ulmfit.training.checkpoint import load_checkpoint

pytestmark = [
    pytest.mark.recipes,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch without distributed"),
]

SCRIPT = Path(__file__).with_name("joint_training.py")
LAUNCH = [sys.executable, "-m", "torch.distributed.run"]
Outcome = tuple[dict[str, Tensor], dict[str, list[float]]]


def train(count: int, *arguments: str | Path) -> int:
    """Run the script in `count` processes; return its exit code."""
    launch = [*LAUNCH, "--standalone", f"--nproc-per-node={count}"] if count > 1 else LAUNCH[:1]
    command = [*launch, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, timeout=300).returncode


def assert_same(found: Outcome, expected: Outcome) -> None:
    """Weights, losses and evaluations are equal to 1e-8."""
    for name, weight in expected[0].items():
        torch.testing.assert_close(found[0][name], weight, rtol=0, atol=1e-8, msg=name)
    np.testing.assert_allclose(found[1]["losses"], expected[1]["losses"], rtol=0, atol=1e-8)
    for one, other in zip(found[1]["history"], expected[1]["history"], strict=True):
        assert one == pytest.approx(other, rel=1e-8)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of what one process gives."""
    folder = tmp_path_factory.mktemp("alone")
    assert train(1, folder) == 0
    return folder


@pytest.mark.parametrize("count", [2, 4])
def test_processes_give_what_one_gives(count: int, alone: Path, tmp_path: Path) -> None:
    assert train(count, tmp_path) == 0
    outcomes = sorted(path.name for path in alone.iterdir())
    assert len(outcomes) == 4  # two kinds, with dropout and without
    for name in outcomes:
        expected = load_checkpoint(alone / name)
        assert len(expected[1]["losses"]) >= 50
        assert_same(load_checkpoint(tmp_path / name), expected)
