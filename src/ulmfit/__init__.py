"""ULMFiT: text classifiers from a few labels and a lot of unlabelled text (Howard & Ruder 2018)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ulmfit.estimator import ULMFiTClassifier, ULMFiTRegressor
    from ulmfit.models.language_model import LanguageModel
    from ulmfit.models.onnx_classifier import OnnxClassifier
    from ulmfit.models.text_classifier import TextClassifier
    from ulmfit.text.tokenizer import Tokenizer

__version__ = "0.1.0"
__all__ = [
    "LanguageModel",
    "OnnxClassifier",
    "TextClassifier",
    "Tokenizer",
    "ULMFiTClassifier",
    "ULMFiTRegressor",
    "__version__",
]

# Imported when first used: `import ulmfit` stays quick and needs no PyTorch.
_HOMES = {
    "LanguageModel": "ulmfit.models.language_model",
    "OnnxClassifier": "ulmfit.models.onnx_classifier",
    "TextClassifier": "ulmfit.models.text_classifier",
    "Tokenizer": "ulmfit.text.tokenizer",
    "ULMFiTClassifier": "ulmfit.estimator",
    "ULMFiTRegressor": "ulmfit.estimator",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
