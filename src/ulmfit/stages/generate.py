"""Continuing a text with a language model."""

from __future__ import annotations

from ulmfit.config.questions import GenerateConfig
from ulmfit.models.language_model import LanguageModel
from ulmfit.stages.warning import warn_of
from ulmfit.text.unicode import UnicodeCheck
from ulmfit.training.device import resolve_device


def generate(config: GenerateConfig, *, quiet: bool = False) -> str:
    """Return the prompt and its continuation. Raises `UlmfitError` for a wrong model or device."""
    unicode = UnicodeCheck()
    prompt = unicode.clean(config.prompt, "--prompt")
    warn_of(unicode, quiet)
    device = resolve_device(config.device)
    model = LanguageModel.from_pretrained(config.model, direction=config.direction, device=device)
    return model.generate(
        prompt,
        tokens=config.tokens,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        min_p=config.min_p,
        seed=config.seed,
    )
