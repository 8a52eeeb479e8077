from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ulmfit

SOURCE = Path(ulmfit.__file__).parent
FLOORS_WITHOUT_TORCH = ("config", "text", "data")


def modules_without_torch() -> list[str]:
    """Return every module that must import where PyTorch is absent."""
    names = ["ulmfit", "ulmfit.errors", "ulmfit.models.folder", "ulmfit.models.classifier"]
    names += ["ulmfit.models.onnx_classifier", "ulmfit.models.loading", "ulmfit.stages.predict"]
    for floor in FLOORS_WITHOUT_TORCH:
        paths = sorted((SOURCE / floor).glob("*.py"))
        names += [f"ulmfit.{floor}.{path.stem}" for path in paths if path.stem != "__init__"]
    return names


def run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_needs_no_torch_imports_none() -> None:
    names = modules_without_torch()
    assert len(names) > 8
    run(
        "import sys, importlib; sys.modules['torch'] = None\n"
        "for name in sys.argv[1:]: importlib.import_module(name)",
        *names,
    )


def test_the_package_alone_imports_nothing_heavy() -> None:
    loaded = set(run("import sys, ulmfit; print(*sys.modules)").split())
    assert "ulmfit" in loaded
    assert not loaded & {"torch", "tokenizers", "numpy", "pydantic", "pyarrow", "sklearn"}
    assert not {name for name in loaded if name.startswith("ulmfit.")}


def test_the_public_names_are_there_when_asked_for() -> None:
    assert set(ulmfit.__all__) <= set(dir(ulmfit))
    for name in ulmfit.__all__:
        assert getattr(ulmfit, name) is not None
    assert ulmfit.Tokenizer.__module__ == "ulmfit.text.tokenizer"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'ulmfit' has no attribute 'Transformer'"):
        _ = ulmfit.Transformer
