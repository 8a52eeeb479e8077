"""Explanations held to their definitions, on small random classifiers."""

from __future__ import annotations

import html
import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ulmfit.cli import main
from ulmfit.config.artefact import Member, Task
from ulmfit.config.model import ClassifierHeadConfig, Dropout, EncoderConfig
from ulmfit.config.text import TokenizerConfig
from ulmfit.data import answers
from ulmfit.data.documents import in_order
from ulmfit.errors import ConfigError
from ulmfit.explain import attribution
from ulmfit.explain.attribution import integrated_gradients, occlusion
from ulmfit.explain.explanation import explain
from ulmfit.explain.page import html_page, shaded_text, terminal_lines
from ulmfit.explain.scores import answer, tempered
from ulmfit.explain.words import split_words
from ulmfit.models.networks import ClassifierNetwork
from ulmfit.models.text_classifier import ClassifierMember, TextClassifier
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.text.types import Text

LABELS = ("a", "b", "c")
TEXTS: list[Text] = [
    "one two three, four",
    " some   words\nto learn ",
    ("a title here", "and words below it"),
    "영화가 정말 재미있었어요",
    "ผมชอบภาพยนตร์เรื่องนี้มากและจะดูอีก",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["some words to learn, here and there"] * 9, TokenizerConfig())


def classifier(tokenizer: Tokenizer, **task: Any) -> TextClassifier:
    made = Task(**{"labels": LABELS, **task})
    head = ClassifierHeadConfig(hidden_sizes=(6,))
    shape = EncoderConfig(
        vocab_size=tokenizer.vocab_size, embedding_size=6, hidden_size=8, layers=2
    )
    members = []
    for seed, direction in enumerate(("forward", "backward")):
        torch.manual_seed(seed)
        network = ClassifierNetwork(shape, Dropout(), head, made.outputs)
        network.encoder.embedding.weight.data.mul_(20)
        for linear in (module for module in network.modules() if isinstance(module, nn.Linear)):
            linear.weight.data.mul_(4)
        member = Member(direction=direction, prefix=direction, weight=1.0 + seed)  # type: ignore[arg-type]
        members.append(ClassifierMember(member, network))
    return TextClassifier(members, tokenizer, made, head=head, bptt=5)


TASKS = [
    {},
    {"temperature": 2.5},
    {"kind": "multi_label", "temperature": 0.5},
    {"kind": "number", "labels": (), "range": (-1.0, 4.0)},
]


@pytest.fixture(params=TASKS, ids=["single", "tempered", "several", "number"])
def model(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> TextClassifier:
    return classifier(tokenizer, **request.param)


# Words


@pytest.mark.parametrize("text", TEXTS)
def test_words_are_what_stands_between_white_space(tokenizer: Tokenizer, text: Text) -> None:
    words = split_words(tokenizer, text)
    columns = (text,) if isinstance(text, str) else text
    for number, column in enumerate(columns):
        own = [word for word in words.words if word.column == number]
        assert all(column[word.start : word.end] == word.text for word in own)
        assert "".join(word.text for word in own) == "".join(column.split())
        if all(len(run) <= 24 for run in column.split()):
            assert [word.text for word in own] == column.split()
        else:
            assert len(own) > 5
    np.testing.assert_array_equal(words.ids, tokenizer.encode(text))
    assert set(words.places) >= set(range(len(words.words)))


@settings(deadline=None)
@given(text=st.text(max_size=60))
def test_every_piece_of_any_text_belongs_to_a_word(tokenizer: Tokenizer, text: str) -> None:
    words = split_words(tokenizer, text)
    assert "".join(word.text for word in words.words) == "".join(text.split())
    assert len(words.places) == len(words.ids)
    assert words.places[0] == -1  # the begin mark
    if words.words:
        inside = words.places[words.places >= 0]
        assert (np.diff(inside) >= 0).all() and inside.max() < len(words.words)
        values = np.arange(float(len(words.ids)))[:, None]
        assert words.sums(values).sum() == values[words.places >= 0].sum()


@pytest.fixture(scope="module")
def by_rules() -> Tokenizer:
    config = TokenizerConfig(kind="word", rules="fastai-2", min_frequency=1)
    return Tokenizer.train(["a good film, very very very very long"] * 9, config)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("good very very very very film", ["good", "very very very very", "film"]),
        ("a <br /> b", ["a", "<br />", "b"]),
        ("<br /><br /> a", ["<br /><br />", "a"]),
    ],
)
def test_words_that_a_rule_takes_together_are_one(
    by_rules: Tokenizer, text: str, expected: list[str]
) -> None:
    assert " ".join(word.text for word in split_words(by_rules, text).words) == text
    model = classifier(by_rules)
    for method in ("integrated_gradients", "occlusion"):
        found = explain(model, text, method=method)
        assert len(found.contributions) == len(found.words) == len(found.running["forward"])
    if len(expected) == 3 and "very" in text:
        assert [word.text for word in found.words] == expected


@pytest.fixture(scope="module")
def pieces_by_rules() -> Tokenizer:
    texts = ["Good!!!! movie was bad", "either / or", "very very very dull", "# fail here"]
    config = TokenizerConfig(vocab_size=420, rules="fastai-2", min_frequency=1)
    return Tokenizer.train(texts * 50, config)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Good!!!! movie was bad", ["Good!!!!", "movie", "was", "bad"]),
        ("either / or dull", ["either", "/", "or", "dull"]),
        ("a very very very dull movie", ["a", "very very very", "dull", "movie"]),
        ("so # fail here", ["so", "#", "fail", "here"]),
    ],
)
def test_a_space_that_a_rule_put_in_begins_no_word(
    pieces_by_rules: Tokenizer, text: str, expected: list[str]
) -> None:
    words = split_words(pieces_by_rules, text)
    assert [word.text for word in words.words] == expected
    for place, token in zip(words.places, pieces_by_rules.tokens(words.ids), strict=True):
        if token.strip() in expected:
            assert expected[place] == token.strip()


RULED = ("very", "a", "<br", "/>", "!!!", "B", "WORD", "\n", "&amp;", "x", "a" * 20 + "xxupb/cde")


@settings(deadline=None, max_examples=50)
@given(text=st.lists(st.sampled_from(RULED)).map(" ".join), pieces=st.booleans())
def test_rules_leave_every_word_a_place(
    by_rules: Tokenizer, pieces_by_rules: Tokenizer, text: str, pieces: bool
) -> None:
    words = split_words(pieces_by_rules if pieces else by_rules, text)
    assert (np.diff(words.places[words.places >= 0]) >= 0).all()
    assert set(words.places[words.places >= 0]) == set(range(len(words.words)))
    assert all(text[word.start : word.end] == word.text for word in words.words)
    expected = text if (words.places >= 0).any() else ""  # of "<br />" alone nothing is read
    assert "".join("".join(word.text for word in words.words).split()) == "".join(expected.split())


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_a_text_of_which_nothing_is_read_has_no_words(by_rules: Tokenizer, method: Any) -> None:
    found = explain(classifier(by_rules), "<br />", method=method)
    assert found.words == [] and found.contributions.shape == (0, 1)
    assert "&lt;br /&gt;" in html_page(found) and list(terminal_lines(found))


# Scores


@pytest.mark.parametrize("text", TEXTS)
def test_the_answer_from_vectors_is_that_of_the_text(model: TextClassifier, text: Text) -> None:
    (ids,) = model.tokenizer.encode_batch([text])
    vectors = []
    for each in model.members:
        row = torch.from_numpy(in_order([ids], each.member)[0])[None]
        vectors.append(each.network.encoder.embed(row))
    found = answer(model, vectors)[0].detach().numpy()
    np.testing.assert_allclose(found, model.predict_proba([text])[0], atol=1e-5)


@pytest.mark.parametrize("kind", ["single_label", "multi_label"])
def test_the_temperature_is_that_of_prediction(kind: Any) -> None:
    mean = np.random.default_rng(0).dirichlet([1.0] * 3, 20)
    task = Task(kind=kind, labels=LABELS, temperature=1.7)
    expected = answers.tempered(kind, mean, 1.7)
    np.testing.assert_allclose(tempered(task, torch.from_numpy(mean)).numpy(), expected)


@pytest.mark.parametrize("kind", ["single_label", "multi_label"])
def test_the_temperature_of_what_is_next_to_impossible_is_that_of_prediction(kind: Any) -> None:
    mean = np.array([[1e-24, 0.9, 0.1], [1e-30, 1e-12, 0.999]], dtype=np.float32)
    task = Task(kind=kind, labels=LABELS, temperature=4.0)
    found = tempered(task, torch.from_numpy(mean)).numpy()
    np.testing.assert_allclose(found, answers.tempered(kind, mean, 4.0), rtol=1e-4)


def test_a_long_document_is_held_in_memory_once(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = np.random.default_rng(0).choice(["some", "words", "to", "learn", "there"], 80)
    model, text = classifier(tokenizer), " ".join(drawn.tolist())
    whole = explain(model, text)
    rows: list[int] = []

    def watched(classifier: TextClassifier, vectors: Any) -> torch.Tensor:
        rows.append(len(vectors[0]))
        return answer(classifier, vectors)

    monkeypatch.setattr(attribution, "TOKENS_AT_ONCE", 64)
    monkeypatch.setattr(attribution, "answer", watched)
    found = explain(model, text)
    assert len(model.tokenizer.encode(text)) > 64 and set(rows) == {1}
    np.testing.assert_allclose(found.contributions, whole.contributions, atol=1e-5)


# Attribution


@pytest.mark.parametrize("text", TEXTS)
def test_contributions_add_up_to_the_change(model: TextClassifier, text: Text) -> None:
    words = split_words(model.tokenizer, text)
    labels = list(range(model.task.outputs))
    contributions, start = integrated_gradients(model, words, labels)
    end = model.predict_proba([text])[0]
    allowed = 0.05 * np.maximum(np.abs(end - start), 0.05) + 1e-4
    assert (np.abs(contributions.sum(0) - (end - start)) <= allowed).all()
    assert (contributions[words.ids < 3] == 0).all()  # begin and field marks
    assert np.abs(contributions).max() > 1e-3
    assert all(p.requires_grad for each in model.members for p in each.network.parameters())
    if model.task.kind == "single_label":
        np.testing.assert_allclose(contributions.sum(1), 0, atol=2e-3)


def test_gradients_along_the_way_by_hand(tokenizer: Tokenizer) -> None:
    """The integral as a sum over many points, member by member."""
    model = classifier(tokenizer)
    words = split_words(tokenizer, "one two three")
    contributions, _ = integrated_gradients(model, words, [1])
    vectors, starts = attribution._vectors(
        model, [in_order([words.ids], each.member)[0] for each in model.members]
    )
    totals = [torch.zeros_like(each) for each in vectors]
    for step in range(400):
        share = (step + 0.5) / 400
        points = [
            (start + share * (end - start)).requires_grad_()
            for start, end in zip(starts, vectors, strict=True)
        ]
        gradients = torch.autograd.grad(answer(model, points)[0, 1], points)
        for total, gradient in zip(totals, gradients, strict=True):
            total += gradient / 400
    by_member = [
        (total * (end - start))[0].sum(1)
        for total, start, end in zip(totals, starts, vectors, strict=True)
    ]
    backward = torch.cat([by_member[1][:1], by_member[1][1:].flip(0)])
    np.testing.assert_allclose(contributions[:, 0], by_member[0] + backward, atol=2e-3)


class SteepWay:
    """A way along which the answer rises within a hundredth of it, and one along which it waves."""

    width = 1.0

    def __init__(self, answer_at: Callable[[float], float]) -> None:
        self.answer_at = answer_at
        self.steps = 0

    def stretches(self, edges: Sequence[tuple[float, float]]) -> list[attribution._Stretch]:
        self.steps += attribution.STEPS * len(edges)
        places, weights = np.polynomial.legendre.leggauss(attribution.STEPS)
        found = []
        for begin, end in edges:
            at = begin + (end - begin) * (places + 1) / 2
            slopes = [(self.answer_at(a + 1e-6) - self.answer_at(a - 1e-6)) / 2e-6 for a in at]
            total = np.array([(end - begin) / 2 * np.dot(weights, slopes)])
            found.append(
                attribution._Stretch(
                    begin, end, [total], self.answer_at(end) - self.answer_at(begin)
                )
            )
        return found


@pytest.mark.parametrize(
    "curve",
    [
        lambda a: 1 / (1 + math.exp(-300 * (a - 0.137))),
        lambda a: 0.5 + 0.4 * math.sin(40 * a) * (1 - a) + 0.02 * a,
        lambda a: 0.3,
    ],
    ids=["steep", "waves", "flat"],
)
def test_stretches_that_do_not_add_up_are_halved(curve: Callable[[float], float]) -> None:
    way = SteepWay(curve)
    (total,) = attribution._adding_up(way)  # type: ignore[arg-type]
    change = curve(1.0) - curve(0.0)
    assert abs(float(total.sum()) - change) <= 0.05 * max(abs(change), 0.01)
    assert way.steps <= 250


@pytest.mark.parametrize("text", TEXTS)
def test_occlusion_reads_again_without_a_word(model: TextClassifier, text: Text) -> None:
    words = split_words(model.tokenizer, text)
    changes, whole = occlusion(model, words)
    np.testing.assert_allclose(whole, model.predict_proba([text])[0], atol=1e-5)
    for place in range(len(words.words)):
        rest = [words.ids[words.places != place]]
        by_member = []
        for each in model.members:
            row = torch.from_numpy(in_order(rest, each.member)[0])[None]
            by_member.append(each.network.encoder.embed(row))
        found = answer(model, by_member)[0].detach().numpy()
        np.testing.assert_allclose(changes[place], whole - found, atol=1e-4)


@pytest.mark.parametrize("text", ["one two three four five six seven", ("a b", "c d e f g")])
@pytest.mark.parametrize("bptt", [2, 70])
def test_words_of_a_long_text_are_left_out_together(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, text: Text, bptt: int
) -> None:
    model = classifier(tokenizer)
    words, model.bptt = split_words(tokenizer, text), bptt
    monkeypatch.setattr(attribution, "MOST_WINDOWS", 3)
    changes, whole = occlusion(model, words)
    assert changes.shape == (7, 3)
    for window in ([0, 1, 2], [3, 4, 5], [6]):
        assert (changes[window] == changes[window[0]]).all()
        rest = words.ids[~np.isin(words.places, window)]
        found = model.answers_of([rest])[0]
        np.testing.assert_allclose(changes[window].sum(0), whole - found, atol=1e-5)


# The whole


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
@pytest.mark.parametrize("text", [*TEXTS, "", "  "])
def test_an_explanation_is_plain_data(model: TextClassifier, method: Any, text: Text) -> None:
    found = explain(model, text, method=method)
    assert found.contributions.shape == (len(found.words), len(found.labels))
    plain = found.to_dict()
    assert [row["word"] for row in plain["words"]] == [word.text for word in found.words]
    assert found.decision == model.predict([text])[0]
    for row in found.running.values():
        assert row.shape == found.contributions.shape
    if found.words:
        members = model.member_probabilities([text])
        ends = {"forward": -1, "backward": 0}
        places = [model.labels.index(label) for label in found.labels] if model.labels else [0]
        for (direction, rows), own in zip(found.running.items(), members, strict=True):
            np.testing.assert_allclose(rows[ends[direction]], own[0][places], atol=1e-4)


def test_an_explanation_is_in_single_precision(model: TextClassifier) -> None:
    expected = explain(model, "one two three")
    model.precision = "bfloat16"
    found = explain(model, "one two three")
    assert model.precision == "bfloat16"
    assert found.to_dict() == expected.to_dict()


def test_a_sure_answer_is_explained(tokenizer: Tokenizer) -> None:
    model = classifier(tokenizer, kind="multi_label", temperature=0.5)
    for each in model.members:
        last = [module for module in each.network.modules() if isinstance(module, nn.Linear)][-1]
        last.bias.data += 40  # the sigmoid is 1 in float32
    assert np.isfinite(explain(model, TEXTS[0]).contributions).all()


def test_an_unknown_method_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="method: found 'lime'; give integrated_gradients or occ"):
        explain(classifier(tokenizer), TEXTS[0], method="lime")  # type: ignore[arg-type]


def test_a_number_has_no_labels(tokenizer: Tokenizer) -> None:
    model = classifier(tokenizer, kind="number", labels=(), range=(-1.0, 4.0))
    with pytest.raises(ConfigError, match="labels: found 'a', but the classifier answers a number"):
        explain(model, TEXTS[0], labels=["a"])


def test_every_member_is_told_how_it_read(tokenizer: Tokenizer) -> None:
    model = classifier(tokenizer)
    (forward, _) = model.members
    again = ClassifierMember(replace(forward.member, prefix="forward_2"), forward.network)
    model.members.append(again)
    found = explain(model, TEXTS[0])
    assert list(found.running) == ["forward", "backward", "forward_2"]
    page = html_page(found)
    assert "as the forward_2 member reads, from the first word on" in page
    assert "as the backward member reads, from the last word back" in page


def test_labels_are_those_asked_for(tokenizer: Tokenizer) -> None:
    model = classifier(tokenizer)
    found = explain(model, "one two", labels=["c", "a"], method="occlusion")
    assert found.labels == ("c", "a")
    np.testing.assert_allclose(found.answers, model.predict_proba(["one two"])[0][[2, 0]])
    (decided,) = model.predict(["one two"])
    assert explain(model, "one two", method="occlusion").labels == (decided,)
    with pytest.raises(ConfigError, match="found 'd', which is none of the classifier's: a, b, c"):
        explain(model, "one two", labels=["d"])


# Shown


def test_a_page_holds_every_word_once_and_nothing_active(tokenizer: Tokenizer) -> None:
    text = ("a <b>title</b> & more", 'one "two" three\nfour')
    found = explain(classifier(tokenizer), text, labels=["a", "b"], method="occlusion")
    page = html_page(found)
    assert page.startswith("<!doctype html>") and "<script" not in page and "http" not in page
    for place in range(2):
        shown = shaded_text(found, place)
        plain = re.sub(r"<[^>]*>", "", shown)
        assert html.unescape(plain).replace("\n", "") == "".join(text).replace("\n", "")
        assert 'class="for"' in shown or 'class="against"' in shown
    assert page.count("<svg") == 4
    parser = HTMLParser(convert_charrefs=True)
    parser.feed(page)
    assert [float(v) for v in re.findall(r'title="([+-][\d.]+)"', shaded_text(found, 0))]


def test_the_terminal_tells_words_and_text(tokenizer: Tokenizer) -> None:
    found = explain(classifier(tokenizer), "one two three", labels=["c"], method="occlusion")
    lines = [line.plain for line in terminal_lines(found)]
    assert lines[0].endswith("(occlusion)")
    assert any(line.startswith("for c:") for line in lines)
    assert lines[-1].strip() == "one two three"


@pytest.mark.parametrize("suffix", ["html", "json"])
def test_the_command_writes_a_file(
    tokenizer: Tokenizer, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier(tokenizer).save_pretrained(tmp_path / "model")
    data, output = tmp_path / "data.csv", tmp_path / f"why.{suffix}"
    data.write_text("text\none two\nthree four\n")
    command = ["explain", "--model", str(tmp_path / "model"), "--data", str(data)]
    assert main([*command, "--row", "2", "--output", str(output)]) == 0
    assert capsys.readouterr().out == f"{output}\n"
    content = output.read_text()
    assert "three" in content and "one two" not in content
    if suffix == "json":
        assert json.loads(content)["method"] == "integrated_gradients"
    text = tmp_path / "blank.txt"
    text.write_text("one two\n\n\nthree four\n")  # rows 1 and 4, as `predict` counts them
    from_text = [*command[:3], "--data", str(text), "--output", str(output), "--row"]
    assert main([*from_text, "4"]) == 0 and "three" in output.read_text()
    assert main([*from_text, "2"]) == 3
    assert "no document in row 2; the last is 4" in capsys.readouterr().err
    assert main([*command, "--row", "3"]) == 3
    assert "data.csv: no document in row 3; the last is 2" in capsys.readouterr().err
    assert main([*command, "--text", "both"]) == 2
    assert main([*command, "--output", str(tmp_path / "why.pdf")]) == 2
    assert "let its name end in .html or .json" in capsys.readouterr().err


def test_without_captum_the_extra_is_named(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ConfigError, match=r"need captum, .* pip install captum"):
        explain(classifier(tokenizer), "one two")
    assert explain(classifier(tokenizer), "one two", method="occlusion").words
