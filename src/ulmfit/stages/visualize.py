"""The command that shows what a model learned, as a page."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from ulmfit.config.artefact import Member
from ulmfit.config.questions import VisualizeConfig
from ulmfit.data.sources import read_documents
from ulmfit.errors import ArtefactError
from ulmfit.explain import layers
from ulmfit.explain.layers import exciting_contexts, nearest_words
from ulmfit.explain.template import render
from ulmfit.models.folder import read_config, resolve
from ulmfit.models.language_model import LanguageModel, choose_member
from ulmfit.models.text_classifier import TextClassifier
from ulmfit.nn.awd_lstm import AWDLSTM
from ulmfit.stages.output_file import check_not_read, named_output, whole_file
from ulmfit.stages.warning import warn_of
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.text.unicode import UnicodeCheck
from ulmfit.training.device import resolve_device

TEMPLATE = Path(layers.__file__).with_name("layers.html.jinja")


def visualize(config: VisualizeConfig, *, quiet: bool = False) -> str:
    """Write the page as `config.output` and return its path.

    Raises `UlmfitError` for a wrong setting, bad data, or a folder without such a member.
    """
    output = named_output(config.output, ".html")
    check_not_read(output, config.data)
    with whole_file(output) as file:
        unicode = UnicodeCheck(config.reading.strict)
        file.write(_page(config, unicode))
    warn_of(unicode, quiet)
    return str(output)


def _page(config: VisualizeConfig, unicode: UnicodeCheck) -> str:
    encoder, tokenizer, member = _encoder(config)
    documents = read_documents(config.data, config.reading, labelled=False, unicode=unicode)
    texts = [document.text for document in islice(documents, config.documents)]
    return render(
        TEMPLATE,
        {},
        title=f"What {Path(config.model).name} learned",
        member=member.direction,
        documents=len(texts),
        data=Path(config.data).name,
        layers=exciting_contexts(
            encoder, tokenizer, member, texts, units=config.units, contexts=config.contexts
        ),
        words=nearest_words(
            encoder, tokenizer, texts, words=config.words, neighbours=config.neighbours
        ),
    )


def _encoder(config: VisualizeConfig) -> tuple[AWDLSTM, Tokenizer, Member]:
    """Return the encoder of the direction asked for, of a model of either kind."""
    folder, device = resolve(config.model), resolve_device(config.device)
    artefact = read_config(folder)
    if artefact.kind == "language_model":
        model = LanguageModel.from_pretrained(folder, direction=config.direction, device=device)
        return model.network.encoder, model.tokenizer, model.member
    if artefact.kind != "text_classifier":
        raise ArtefactError(f"{config.model}: holds a {artefact.kind}; there are no layers to show")
    chosen = choose_member(artefact, config.direction, folder)
    classifier = TextClassifier.from_pretrained(folder, device=device)
    network = next(each.network for each in classifier.members if each.member == chosen)
    return network.encoder, classifier.tokenizer, chosen
