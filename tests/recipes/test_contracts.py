"""What holds for the whole path, from text to answers: no pickle is read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.recipes

WITHOUT_PICKLE = """
import sys
from pathlib import Path

# The libraries come first: what they read of their own at import is theirs.
import numpy, pandas, pyarrow.parquet, sklearn.metrics, torch
import ulmfit.cli
from ulmfit.training import loop

def refuse(event, arguments):
    if event == "pickle.find_class":
        raise RuntimeError(f"unpickled {arguments}")

def no_load(*arguments, **options):
    raise RuntimeError("torch.load was called")

torch.load = torch.jit.load = no_load
sys.addaudithook(refuse)

folder, reviews = Path(sys.argv[1]), sys.argv[2]
cache = ["--cache", str(folder / "cache")]

def ulmfit_(*arguments):
    code = ulmfit.cli.main([str(argument) for argument in arguments])
    assert code == 0, (code, arguments)

class Killed(BaseException):
    pass

def killed_at(last, *arguments):
    train_batch, done = loop.TrainingRun.train_batch, 0

    def counted(run, *rest):
        nonlocal done
        done += 1
        if done == last:
            raise Killed
        train_batch(run, *rest)

    loop.TrainingRun.train_batch = counted
    try:
        ulmfit_(*arguments)
        raise AssertionError("the run was not stopped")
    except Killed:
        loop.TrainingRun.train_batch = train_batch

def stopped_and_resumed(*arguments):
    killed_at(2, *arguments)
    ulmfit_(*arguments, "--resume")

brief = ["--training.epochs", 3, "--training.batch-size", 4, "--training.checkpoint-steps", 1]
shape = ["--embedding-size", 6, "--hidden-size", 8, "--layers", 2, "--lanes.bptt", 20]
tokenizer, pretrained = folder / "tokenizer", folder / "pretrained"
finetuned, classifier = folder / "finetuned", folder / "classifier"
ulmfit_("tokenizer", "--texts", reviews, "--output", tokenizer, "--tokenizer.vocab-size", 300)
stopped_and_resumed(
    "pretrain", "--texts", reviews, "--tokenizer-folder", tokenizer, "--output", pretrained,
    *brief, *shape, *cache,
)
stopped_and_resumed(
    "finetune", "--texts", reviews, "--pretrained", pretrained, "--directions", "forward",
    "--output", finetuned, *brief, *cache,
)
stopped_and_resumed(
    "train", "--data", reviews, "--pretrained", finetuned, "--directions", "forward",
    "--output", classifier, *cache, "--language-model.training.epochs", 0.3,
    "--language-model.training.batch-size", 4, "--classifier.training.epochs", 1,
    "--classifier.training.checkpoint-steps", 1,
    "--language-model.training.checkpoint-steps", 1,
)
ulmfit_("evaluate", "--model", classifier, "--data", reviews)
ulmfit_("evaluate", "--model", pretrained, "--data", reviews)
ulmfit_("predict", "--model", classifier, "--data", reviews, "--output", folder / "out.csv")
ulmfit_("generate", "--model", finetuned, "--tokens", 3)
ulmfit_("inspect", "--model", classifier)
for path in folder.rglob("*"):
    assert path.suffix not in (".pkl", ".pickle", ".pt", ".pth", ".bin") or "cache" in path.parts
print("whole")

import pickle
try:
    pickle.loads(pickle.dumps(Path))
    print("the hook does nothing")
except RuntimeError:
    print("the hook works")
"""


def test_the_whole_path_reads_no_pickle(reviews: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.csv"
    few.write_text("".join(reviews.read_text().splitlines(keepends=True)[:41]))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PICKLE, str(tmp_path), str(few)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": ""},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-2:] == ["whole", "the hook works"]
