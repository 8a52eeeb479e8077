"""A classifier of whichever kind a folder holds; PyTorch is imported only if it is needed."""

from __future__ import annotations

from ulmfit.errors import ConfigError
from ulmfit.models.classifier import Classifier
from ulmfit.models.folder import kind_of, resolve


def load_classifier(name: str, *, device: str = "auto", precision: str = "float32") -> Classifier:
    """Load the classifier called `name`, a folder or a hub id, onto a device.

    Raises `ArtefactError` if it is damaged or no classifier, `ConfigError` for a device or a
    precision that cannot be had; one in ONNX is read on the processor, in float32.
    """
    folder = resolve(name)
    if kind_of(folder) != "onnx_classifier":
        try:
            from ulmfit.models.text_classifier import TextClassifier
        except ModuleNotFoundError as error:
            if error.name != "torch" or kind_of(folder) != "text_classifier":
                raise
            raise ConfigError(
                f"{name}: needs PyTorch, which is not installed; install it or, where it is, "
                "convert the classifier with `ulmfit convert --to onnx`"
            ) from None

        return TextClassifier.from_pretrained(folder, device=device, precision=precision)
    from ulmfit.models.onnx_classifier import OnnxClassifier

    for setting, found, here in (
        ("device", device, ("auto", "cpu")),
        ("precision", precision, ("auto", "float32")),
    ):
        if found not in here:
            raise ConfigError(
                f"setting '{setting}': found '{found}', but {name} is in ONNX, which is read with "
                f"'{here[1]}' here"
            )
    return OnnxClassifier.from_pretrained(folder)
