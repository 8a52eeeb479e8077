"""A language model with its tokenizer: what is saved, loaded and asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ulmfit.config.artefact import ArtefactConfig, Member, Storage
from ulmfit.config.model import Direction, Dropout, EncoderConfig
from ulmfit.data.documents import in_order
from ulmfit.errors import ArtefactError
from ulmfit.models.folder import load_whole, resolve
from ulmfit.models.generation import next_token
from ulmfit.models.networks import LanguageModelNetwork, check_vocabulary
from ulmfit.models.reading import encode_documents, score_documents
from ulmfit.models.saving import checked_storage, save_model
from ulmfit.models.weights import load_into, prefixed, restore
from ulmfit.text.tokenizer import BEGIN_ID, FIELD_ID, PAD_ID, UNKNOWN_ID, Tokenizer, reverse_ids
from ulmfit.text.types import Text, checked_texts
from ulmfit.training.device import resolve_device

NEVER_GENERATED = [PAD_ID, UNKNOWN_ID, FIELD_ID]


class LanguageModel:
    """An AWD-LSTM language model of one direction, with the tokenizer it was trained with."""

    def __init__(
        self,
        network: LanguageModelNetwork,
        tokenizer: Tokenizer,
        member: Member,
        *,
        bptt: int = 70,
        run: Mapping[str, Any] | None = None,
    ) -> None:
        """Join a network and its tokenizer; `run` is the record of how it was made.

        Raises `ArtefactError` if they differ in the size of the vocabulary.
        """
        check_vocabulary(network.encoder, tokenizer)
        self.network, self.tokenizer, self.member = network.eval(), tokenizer, member
        self.bptt = bptt
        self.run: dict[str, Any] = dict(run or {})

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        direction: Direction | None = None,
        revision: str | None = None,
        device: str | torch.device = "cpu",
    ) -> LanguageModel:
        """Load a language model from a folder, a shipped name, or a hub id.

        `direction` chooses one of the folder's members; by default its first. `device` may be
        `auto`: a GPU, if any.

        Raises `ArtefactError` if the folder is damaged or has no such member, `ConfigError` if
        there is no such device.
        """
        folder = resolve(name, revision)
        where = resolve_device(device)
        return load_whole(folder, lambda config: cls._loaded(folder, config, direction, where))

    @classmethod
    def _loaded(
        cls,
        folder: Path,
        config: ArtefactConfig,
        direction: Direction | None,
        device: torch.device,
    ) -> LanguageModel:
        if config.kind != "language_model" or config.encoder is None:
            raise ArtefactError(f"{folder}: holds a {config.kind}, not a language model")
        member = choose_member(config, direction, folder)
        tokenizer = Tokenizer.from_json((folder / "tokenizer.json").read_bytes(), config.tokenizer)
        network = LanguageModelNetwork(config.encoder, Dropout())
        load_into(network, restore(folder / "model.safetensors"), member.prefix)
        network.to(device)
        return cls(network, tokenizer, member, bptt=config.bptt, run=dict(config.run))

    @property
    def config(self) -> EncoderConfig:
        """Shape of the encoder."""
        config: EncoderConfig = self.network.encoder.config
        return config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.network.head.bias.device
        return device

    def save_pretrained(
        self, folder: str | Path, *, storage: Storage = "float32", overwrite: bool = False
    ) -> None:
        """Write the model as a folder of one member. Raises `ArtefactError` if it cannot."""
        save_language_models([self], folder, storage=storage, overwrite=overwrite)

    @torch.no_grad()
    def generate(
        self,
        prompt: str = "",
        *,
        tokens: int = 50,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int = 0,
    ) -> str:
        """Return `prompt` and its continuation by `tokens` tokens, or up to the document's end.

        Both as the tokenizer writes them: words of the prompt that it does not know are left out.
        The prompt is read once, then one token at a time with the state carried. A backward model
        continues to the left.
        """
        self.network.eval()
        generator = torch.Generator().manual_seed(seed)
        ids = self.tokenizer.encode(prompt)
        backward = self.member.direction == "backward"
        written = ids[1:].tolist()
        if backward:
            written.reverse()
            ids = reverse_ids(ids, self.member.begin_mark)
            if self.member.begin_mark == "last" and written:
                ids = ids[:-1]  # the mark would end the text
        encoder, head = self.network.encoder, self.network.head
        layers, state = encoder.prepare(), None
        unread = torch.split(torch.from_numpy(ids)[None], self.bptt, 1)
        for _ in range(tokens):
            for piece in unread:
                vectors = encoder.embed(piece.to(self.device))
                outputs, state = encoder(vectors, state, layers=layers)
            logits = head.logits(outputs[0, -1], encoder.embedding.weight).cpu()
            logits[NEVER_GENERATED] = -torch.inf
            token = next_token(logits, temperature, top_k, top_p, generator, min_p)
            if token == BEGIN_ID:
                break
            written.append(token)
            unread = (torch.tensor([[token]]),)
        return self.tokenizer.decode(written[::-1] if backward else written)

    def perplexity(self, texts: Iterable[Text]) -> NDArray[np.float64]:
        """Return each text's perplexity per token [texts], read alone from its first token on.

        That is the begin mark; of a converted backward model, whose mark stands last and is
        predicted, the text's last token. An empty text has no token to predict: its perplexity is
        NaN.
        """
        ids = self._ids(texts)
        nll = score_documents(self.network, ids)
        counts = np.array([len(document) - 1 for document in ids])
        mean = np.divide(nll, counts, out=np.full(len(ids), np.nan), where=counts > 0)
        perplexity: NDArray[np.float64] = np.exp(mean)
        return perplexity

    def encode(self, texts: Iterable[Text]) -> NDArray[np.float32]:
        """Return document vectors [texts, 3 * embedding size]: last, maximum, mean output."""
        return encode_documents(self.network.encoder, self._ids(texts))

    def _ids(self, texts: Iterable[Text]) -> list[NDArray[np.int64]]:
        return in_order(self.tokenizer.encode_batch(list(checked_texts(texts))), self.member)


def choose_member(config: ArtefactConfig, direction: Direction | None, folder: Path) -> Member:
    """Return the first member, or the first that reads in `direction`. Raises `ArtefactError`."""
    for member in config.members:
        if direction in (None, member.direction):
            return member
    there = config.members[0].direction
    raise ArtefactError(
        f"{folder}: has no {direction} member; it has: {there}; ask for {there} alone, with "
        "--direction or --directions"
    )


def save_language_models(
    models: Sequence[LanguageModel],
    folder: str | Path,
    *,
    storage: Storage = "float32",
    overwrite: bool = False,
) -> None:
    """Write language models that share one tokenizer as one folder, a member each.

    Raises `ArtefactError` if their tokenizers or shapes differ, if two read in the same direction,
    or if the folder cannot be written, `ConfigError` if there is no such storage.
    """
    first = models[0]
    members: list[Member] = []
    tensors: dict[str, Tensor] = {}
    if len({model.member.direction for model in models}) < len(models):
        raise ArtefactError(f"{folder}: two members read in the same direction; save one of each")
    for model in models:
        if (
            model.tokenizer.fingerprint != first.tokenizer.fingerprint
            or model.config != first.config
        ):
            raise ArtefactError(f"{folder}: the members' tokenizers or shapes differ")
        member = replace(model.member, prefix=model.member.direction)
        members.append(member)
        tensors |= prefixed(model.network.state_dict(), member.prefix)
    config = ArtefactConfig(
        kind="language_model",
        tokenizer=first.tokenizer.config,
        encoder=first.config,
        bptt=first.bptt,
        members=tuple(members),
        storage=checked_storage(storage),
        run=first.run,
    )
    save_model(folder, config, tensors, first.tokenizer, overwrite=overwrite)
