"""Models of fastai through every command, and back."""

from __future__ import annotations

import csv
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ulmfit import LanguageModel, TextClassifier
from ulmfit.cli import main
from ulmfit.config.model import ClassifierHeadConfig, Dropout, EncoderConfig
from ulmfit.interop.fastai import read_fastai
from ulmfit.interop.fastai_names import to_fastai_2
from ulmfit.interop.vocabulary import read_vocabulary
from ulmfit.models.folder import read_config
from ulmfit.models.networks import ClassifierNetwork, LanguageModelNetwork

from .conftest import CLASSES, WORDS, made_up_reviews

pytestmark = pytest.mark.recipes

VOCABULARY = ["xxunk", "xxpad", "xxbos", "xxeos", "xxmaj", "xxup", "xxrep", *WORDS, "awful"]
SHAPE = EncoderConfig(vocab_size=len(VOCABULARY), embedding_size=8, hidden_size=10, layers=3)

Run = Callable[..., str]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder of fastai's files: a forward and a backward model, a classifier, their words."""
    torch.manual_seed(0)
    for name in ("lm_fwd.pth", "lm_bwd.pth"):
        state = LanguageModelNetwork(SHAPE, Dropout()).state_dict()
        torch.save({to_fastai_2(key): value for key, value in state.items()}, tmp_path / name)
    head = ClassifierHeadConfig(hidden_sizes=(5,))
    state = ClassifierNetwork(SHAPE, Dropout(), head, 2).state_dict()
    torch.save({to_fastai_2(key): value for key, value in state.items()}, tmp_path / "clf_fwd.pth")
    (tmp_path / "itos.pkl").write_bytes(pickle.dumps(VOCABULARY))
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that must succeed, and returns what it printed."""

    def run(*arguments: object) -> str:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that must fail, and returns its one line."""

    def run(*arguments: object) -> str:
        code = main([str(argument) for argument in arguments])
        err = capsys.readouterr().err
        assert code in (2, 4) and err.count("\n") == 1, err
        return err.removeprefix("ulmfit: error: ").rstrip("\n")

    return run


def test_both_directions_go_through_every_command(files: Path, run: Run) -> None:
    model, data = files / "model", files / "reviews.csv"
    with data.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *made_up_reviews(60)])
    sources = (files / "lm_fwd.pth", files / "lm_bwd.pth")
    run("convert", *sources, "--vocab", files / "itos.pkl", "--output", model)
    config = read_config(model)
    assert [(m.direction, m.begin_mark) for m in config.members] == [
        ("forward", "last"),
        ("backward", "last"),
    ]
    assert config.encoder is not None and config.encoder.vocab_size == len(VOCABULARY) + 1
    card = (model / "README.md").read_text(encoding="utf-8")
    assert "weights of fastai: lm_bwd.pth" in card and "itos.pkl, 21 words" in card
    assert "vocabulary: itos.pkl, 21 words" in run("inspect", "--model", model)
    run("generate", "--model", model, "--prompt", "the film", "--tokens", 5)
    assert "perplexity" in run("evaluate", "--model", model, "--data", data)
    brief = ["--training.epochs", "0.5", "--training.batch-size", "4"]
    run("finetune", "--pretrained", model, "--texts", data, "--output", files / "tuned", *brief)
    brief = ["--language-model.skip", "--classifier.training.epochs", "1"]
    run("train", "--pretrained", files / "tuned", "--data", data, "--output", files / "clf", *brief)
    predicted = run("predict", "--model", files / "clf", "--data", data).splitlines()
    assert predicted[0] == "row,label,p_bad,p_good" and len(predicted) == 61
    assert list(read_config(files / "clf").run) == ["convert", "finetune", "train"]


def test_a_classifier_keeps_its_labels(files: Path, run: Run) -> None:
    both = files / "dls_vocab.pkl"
    both.write_bytes(pickle.dumps([VOCABULARY, ["good", "bad"]]))
    source = files / "clf_fwd.pth"
    run("convert", source, "--vocab", both, "--output", files / "a")
    given = ("--labels", "good", "bad")
    run("convert", source, "--vocab", files / "itos.pkl", *given, "--output", files / "b")
    a, b = (TextClassifier.from_pretrained(files / name) for name in "ab")
    assert a.labels == b.labels == tuple(CLASSES)
    last = torch.load(source, weights_only=True)["1.layers.1.2.weight"]
    weights = a.members[0].network.state_dict()["head.blocks.1.2.weight"]
    assert torch.equal(weights, last[[1, 0]])
    texts = ["the film was awful", ""]
    assert (a.predict_proba(texts) == b.predict_proba(texts)).all()


def test_a_model_of_one_output_is_no_classifier_of_one_label_each(
    files: Path, run: Run, refused: Run
) -> None:
    state = torch.load(files / "clf_fwd.pth", weights_only=True)
    for name in ("1.layers.1.2.weight", "1.layers.1.2.bias"):
        state[name] = state[name][:1].clone()
    torch.save(state, files / "one_fwd.pth")
    given = ("--vocab", files / "itos.pkl", "--labels", "good", "--output", files / "one")
    assert refused("convert", files / "one_fwd.pth", *given) == (
        "setting 'task': found 'single_label', but the classifier has the one label 'good'; give "
        "--task multi_label if documents have it or not; a model of numbers is not converted"
    )
    run("convert", files / "one_fwd.pth", *given, "--task", "multi_label")
    answers = TextClassifier.from_pretrained(files / "one").predict_proba(["the film", "awful"])
    assert answers.shape == (2, 1) and (answers < 1).all()


def test_an_archive_brings_its_vocabulary(files: Path, run: Run) -> None:
    with tarfile.open(files / "wt103-bwd.tgz", "w:gz") as archive:
        archive.add(files / "lm_bwd.pth", "wt103/lstm.pth")
        archive.add(files / "itos.pkl", "wt103/itos.pkl")
    run("convert", files / "wt103-bwd.tgz", "--output", files / "model")
    model = LanguageModel.from_pretrained(files / "model")
    assert model.member.direction == "backward"
    assert model.tokenizer.words()[4:7] == ["xxeos", "xxmaj", "xxup"]


@pytest.mark.parametrize(("mark", "rules"), [("xxup", "fastai-2"), ("t_up", "fastai-2018")])
def test_words_with_the_marks_of_2018_come_with_its_rules(
    files: Path, run: Run, mark: str, rules: str
) -> None:
    words = [mark if word == "xxup" else word for word in VOCABULARY]
    (files / "itos.json").write_text(json.dumps(words), encoding="utf-8")
    source, given = files / "lm_fwd.pth", ("--splitter", "pattern", "--output", files / "model")
    run("convert", source, "--vocab", files / "itos.json", *given)
    tokenizer = LanguageModel.from_pretrained(files / "model").tokenizer
    assert tokenizer.config.rules == rules
    ids = tokenizer.encode("THE film")
    assert tokenizer.tokens(ids) == ["<bos>", "xxup", "the", "film"]
    assert tokenizer.decode(ids) == "THE film"


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_the_way_back_gives_the_same_weights(files: Path, run: Run, storage: str) -> None:
    sources = (files / "lm_fwd.pth", files / "lm_bwd.pth")
    there = ("--vocab", files / "itos.pkl", "--storage", storage, "--output", files / "model")
    run("convert", *sources, *there)
    run("convert", files / "model", "--to", "fastai-2", "--output", files / "back")
    words, _ = read_vocabulary(files / "back" / "vocab.pkl")
    assert words[:4] == ["xxpad", "xxunk", "xxbos", "xxfld"]
    assert sorted(words) == sorted([*VOCABULARY, "xxfld"])
    rows = [words.index(word) for word in VOCABULARY]
    bound = 0.0 if storage == "float32" else 1e-3
    for name, source in zip(("forward", "backward"), sources, strict=True):
        before = read_fastai(source).read()
        after = read_fastai(files / "back" / f"{name}.pth").read()
        for key in ("encoder.embedding.weight", "head.bias"):
            after[key] = after[key][rows]
        torch.testing.assert_close(after, before, atol=bound, rtol=0)


def test_what_is_missing_or_does_not_fit_is_told(
    files: Path, refused: Run, tiny_model: Path
) -> None:
    (files / "model.pth").write_bytes((files / "lm_fwd.pth").read_bytes())
    vocab, output = ("--vocab", files / "itos.pkl"), ("--output", files / "out")
    forward, backward = files / "lm_fwd.pth", files / "lm_bwd.pth"
    assert refused("convert", forward, *output) == (
        "setting 'vocab': missing; give the vocabulary that the weights go with"
    )
    assert refused("convert", files / "model.pth", *vocab, *output) == (
        "setting 'direction': missing, and the name 'model.pth' does not tell whether it reads "
        "forward or backward"
    )
    both = ("--direction", "backward")
    assert "two of them read backward" in refused(
        "convert", forward, backward, *vocab, *output, *both
    )
    assert refused("convert", files / "clf_fwd.pth", *vocab, *output) == (
        "setting 'labels': 0 labels (), but the classifier has 2 classes; give one for each, in "
        "the order of fastai's `dls.vocab`"
    )
    assert "of another kind or shape than lm_bwd.pth" in refused(
        "convert", backward, files / "clf_fwd.pth", *vocab, *output
    )
    assert refused("convert", files / "none.pth", *vocab, *output) == (
        f"{files / 'none.pth'}: no such file; check the path"
    )
    assert refused("convert", tiny_model, *output) == (
        f"setting 'sources': {tiny_model} is a model folder already; give --to onnx or --to "
        "fastai-2"
    )
    words = files / "other.json"
    words.write_text(json.dumps(VOCABULARY[:-1]))
    assert "21 rows and the vocabulary 20 words" in refused(
        "convert", forward, "--vocab", words, *output
    )
    assert not (files / "out").exists()


def test_what_fastai_cannot_use_is_refused(
    files: Path, run: Run, refused: Run, tiny_model: Path
) -> None:
    back = ("--to", "fastai-2", "--output", files / "back")
    assert refused("convert", tiny_model, *back) == (
        f"{tiny_model}: reads pieces of bytes (bpe), which fastai does not; give it words first, "
        "with ulmfit transfer --tokenizer.kind word --tokenizer.rules fastai-2 "
        "--tokenizer.splitter spacy"
    )
    run("convert", files / "lm_fwd.pth", "--vocab", files / "itos.pkl", "--output", files / "lm")
    message = refused("convert", files / "lm", *back, "--storage", "int8")
    assert "but it is not for fastai; leave it out" in message
    assert not (files / "back").exists()


def test_an_output_that_is_there_is_not_replaced(files: Path, run: Run, refused: Run) -> None:
    arguments = ("convert", files / "lm_fwd.pth", "--vocab", files / "itos.pkl")
    run(*arguments, "--output", files / "out")
    assert "exists already" in refused(*arguments, "--output", files / "out")
    run(*arguments, "--output", files / "out", "--overwrite")
    back = ("convert", files / "out", "--to", "fastai-2", "--output")
    assert "exists already" in refused(*back, files / "out")
    assert "more than weights for fastai" in refused(*back, files / "out", "--overwrite")
    run(*back, files / "back")
    (files / "back" / "vocab.pkl").write_bytes(b"old")
    run(*back, files / "back", "--overwrite")
    assert read_vocabulary(files / "back" / "vocab.pkl")[0][:2] == ["xxpad", "xxunk"]
    assert not [path for path in files.iterdir() if path.name.startswith(".back.")]
