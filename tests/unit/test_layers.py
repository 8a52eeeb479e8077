"""What excites units, against a search over everything that a small network puts out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ulmfit.cli import main
from ulmfit.config.artefact import Member, Task
from ulmfit.config.model import ClassifierHeadConfig, Direction, Dropout, EncoderConfig
from ulmfit.config.text import TokenizerConfig
from ulmfit.data.documents import in_order
from ulmfit.explain import layers
from ulmfit.explain.layers import exciting_contexts, nearest_words
from ulmfit.models.language_model import LanguageModel, save_language_models
from ulmfit.models.networks import ClassifierNetwork, LanguageModelNetwork
from ulmfit.models.text_classifier import ClassifierMember, TextClassifier
from ulmfit.text.tokenizer import Tokenizer

TEXTS = ["one small word here", "another word there, and more of them", "", "words & <b>words</b>"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([*TEXTS, "some words to learn"] * 9, TokenizerConfig(vocab_size=320))


def model(tokenizer: Tokenizer, direction: Direction = "forward") -> LanguageModel:
    torch.manual_seed(0)
    size = tokenizer.vocab_size
    shape = EncoderConfig(vocab_size=size, embedding_size=6, hidden_size=8, layers=2)
    network = LanguageModelNetwork(shape, Dropout())
    network.encoder.embedding.weight.data.mul_(10)
    return LanguageModel(network, tokenizer, Member(direction=direction, prefix=direction))


@pytest.mark.parametrize(
    ("direction", "begin_mark"), [("forward", "first"), ("backward", "first"), ("backward", "last")]
)
def test_the_strongest_moments_are_found(
    tokenizer: Tokenizer, direction: Any, begin_mark: Any
) -> None:
    made = model(tokenizer, direction)
    made.member = replace(made.member, begin_mark=begin_mark)
    encoder = made.network.encoder
    found = exciting_contexts(encoder, tokenizer, made.member, TEXTS, units=3, contexts=2)
    assert [len(units) for units in found] == [3, 3]
    read = in_order(tokenizer.encode_batch(TEXTS), made.member)
    for layer, units in enumerate(found):
        outputs = [list(layers._outputs(encoder, ids))[layer] for ids in read]
        outputs = [each[:-1] if begin_mark == "last" else each[1:] for each in outputs]
        every = np.concatenate(outputs)
        best = np.sort([each.max(0) for each in outputs if len(each)], axis=0)[-2:]
        contrast = (best.mean(0) - every.mean(0)) / every.std(0)
        expected = np.argsort(-contrast, kind="stable")[:3]
        assert [unit.number for unit in units] == expected.tolist()
        for unit in units:
            assert unit.contrast == pytest.approx(contrast[unit.number], rel=1e-4)
            values = [context.value for context in unit.contexts]
            assert values == pytest.approx(best[::-1, unit.number].tolist())
            for context in unit.contexts:
                shown = context.before + context.token + context.after
                assert any(shown.strip() in str(text) for text in TEXTS)
                assert context.token


def test_the_last_layer_is_what_the_encoder_puts_out(tokenizer: Tokenizer) -> None:
    made = model(tokenizer)
    ids = tokenizer.encode(TEXTS[1])
    outputs, _ = made.network.encoder(made.network.encoder.embed(torch.from_numpy(ids)[None]))
    (*_, last) = layers._outputs(made.network.encoder, ids)
    np.testing.assert_allclose(last, outputs[0].detach().numpy(), atol=1e-6)


def test_the_nearest_words_are_those_of_the_largest_cosine(tokenizer: Tokenizer) -> None:
    encoder = model(tokenizer).network.encoder
    found = nearest_words(encoder, tokenizer, TEXTS, words=3, neighbours=4)
    assert "words" in found
    vectors = encoder.embedding.weight.detach().numpy()
    names = [token.strip() for token in tokenizer.tokens(range(tokenizer.vocab_size))]
    for word, others in found.items():
        assert len(others) == 4 and all(name.lower() != word.lower() for name, _ in others)
        places = [i for i, name in enumerate(names) if name == word]
        for name, likeness in others:
            cosines = [
                vectors[i] @ vectors[j] / np.linalg.norm(vectors[i]) / np.linalg.norm(vectors[j])
                for i in places
                for j, other in enumerate(names)
                if other == name
            ]
            assert min(abs(cosine - likeness) for cosine in cosines) < 1e-5
        assert [value for _, value in others] == sorted((v for _, v in others), reverse=True)


def test_pieces_that_read_alike_are_one_word() -> None:
    texts = ["with some words with more", "with"] * 9
    pieces = Tokenizer.train(texts, TokenizerConfig(vocab_size=320))
    assert {" with", "with"} <= set(pieces.tokens(range(pieces.vocab_size)))
    encoder = model(pieces).network.encoder
    found = nearest_words(encoder, pieces, texts, words=3, neighbours=2)
    assert len(found) == 3 and next(iter(found)) == "with"


def test_the_command_writes_a_page(
    tokenizer: Tokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_language_models([model(tokenizer), model(tokenizer, "backward")], tmp_path / "model")
    (tmp_path / "data.txt").write_text("\n".join(filter(None, TEXTS)) + "\n")
    command = [
        "visualize",
        "--model",
        str(tmp_path / "model"),
        "--data",
        str(tmp_path / "data.txt"),
    ]
    output = tmp_path / "layers.html"
    assert main([*command, "--output", str(output), "--direction", "backward"]) == 0
    assert capsys.readouterr().out == f"{output}\n"
    page = output.read_text("utf-8")
    assert "<h2>Layer 2</h2>" in page and "<script" not in page and "<b>words" not in page
    assert "3 documents of data.txt" in page
    assert main([*command, "--output", str(tmp_path / "layers.pdf")]) == 2
    assert "let its name end in .html" in capsys.readouterr().err


def test_of_a_classifier_its_first_member_is_shown(
    tokenizer: Tokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output, data = (tmp_path / name for name in ("model", "layers.html", "data.txt"))
    encoder, head = model(tokenizer).network.encoder, ClassifierHeadConfig()
    network = ClassifierNetwork(encoder.config, Dropout(), head, 2)
    backward = ClassifierMember(Member(direction="backward", prefix="backward"), network)
    task = Task(labels=("a", "b"))
    TextClassifier([backward], tokenizer, task, head=head).save_pretrained(folder)
    data.write_text("\n".join(filter(None, TEXTS)) + "\n")
    command = ["visualize", f"--model={folder}", f"--data={data}", f"--output={output}"]
    assert main([*command, "--direction", "forward"]) == 4
    assert f"{folder}: has no forward member; it has: backward" in capsys.readouterr().err
    assert main(command) == 0
    assert "backward" in output.read_text("utf-8")
