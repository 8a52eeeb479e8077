"""The estimator, held to what scikit-learn asks of one, where its checks make sense for texts."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from ulmfit import ULMFiTClassifier, ULMFiTRegressor
from ulmfit.errors import ConfigError, DataError, UlmfitError
from ulmfit.models.text_classifier import TextClassifier

from .conftest import CLASSES, made_up_reviews

pytestmark = pytest.mark.recipes

Make = Callable[..., ULMFiTClassifier]


@pytest.fixture(scope="module")
def data(reviews: Path) -> tuple[list[str], list[str]]:
    table = pd.read_csv(reviews)
    return table["text"].tolist(), table["label"].tolist()


@pytest.fixture(scope="module")
def make(tiny_model: Path) -> Make:
    """An estimator that learns the reviews in about a second."""

    def made(**parameters: Any) -> ULMFiTClassifier:
        training = {
            "epochs": 6.0,
            "batch_size": 8,
            "clip_gradient": 1.0,
            "unfreezing": "full",
            "threads": 1,
            "optimizer": {"learning_rate": 3e-2, "discriminative_factor": 1.0},
        }
        settings = {
            "validation": {"fraction": 0.0},
            "language_model": {"skip": True},
            "classifier": {"bptt": 20, "dropout_multiplier": 0.1, "training": training},
        }
        given = {"pretrained": str(tiny_model), "directions": "forward", "settings": settings}
        return ULMFiTClassifier(**{**given, **parameters})

    return made


@pytest.fixture(scope="module")
def fitted(make: Make, data: tuple[list[str], list[str]]) -> ULMFiTClassifier:
    return make().fit(*data)


def test_it_learns_and_scores(fitted: ULMFiTClassifier, data: tuple[list[str], list[str]]) -> None:
    texts, labels = data
    assert fitted.classes_.tolist() == ["bad", "good"]
    assert fitted.score(texts, labels) > 0.9
    probabilities = fitted.predict_proba(texts)
    assert probabilities.shape == (len(texts), 2)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    assert fitted.transform(texts[:5]).shape == (5, 36)


def test_parameters_are_kept_and_cloned(make: Make, data: tuple[list[str], list[str]]) -> None:
    estimator = make(class_weight={"bad": 2.0}, random_state=7)
    before = {name: repr(value) for name, value in estimator.get_params().items()}
    copy = clone(estimator)
    assert {name: repr(value) for name, value in copy.get_params().items()} == before
    assert copy.set_params(directions="backward").directions == "backward"
    with pytest.raises(ValueError, match="Invalid parameter"):
        copy.set_params(direction="backward")
    estimator.fit(data[0][:40], data[1][:40])
    assert {name: repr(value) for name, value in estimator.get_params().items()} == before
    assert not hasattr(clone(estimator), "model_")
    with pytest.raises(TypeError):
        ULMFiTClassifier("wikipedia-en-small")  # type: ignore[call-arg]


def test_fitted_twice_it_is_the_same(
    make: Make, fitted: ULMFiTClassifier, data: tuple[list[str], list[str]]
) -> None:
    again = make().fit(["another text", "and one"] * 4, [1, 2] * 4).fit(*data)
    expected = fitted.predict_proba(data[0])
    np.testing.assert_array_equal(again.predict_proba(data[0]), expected)
    other = make(random_state=1).fit(*data)
    assert not np.array_equal(other.predict_proba(data[0]), expected)
    first, second = (make(random_state=np.random.RandomState(3)).fit(*data) for _ in range(2))
    np.testing.assert_array_equal(first.predict_proba(data[0]), second.predict_proba(data[0]))


def test_order_and_subsets_do_not_matter(
    fitted: ULMFiTClassifier, data: tuple[list[str], list[str]]
) -> None:
    texts = data[0][:60]
    whole = fitted.predict_proba(texts)
    order = np.random.default_rng(0).permutation(len(texts))
    np.testing.assert_allclose(
        fitted.predict_proba([texts[i] for i in order]), whole[order], atol=1e-5
    )
    parts = [fitted.predict_proba([text]) for text in texts]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)
    assert fitted.predict([]).tolist() == []


def test_unfitted_it_says_so(make: Make) -> None:
    for method in ("predict", "predict_proba", "transform"):
        with pytest.raises(NotFittedError):
            getattr(make(), method)(["a text"])


@pytest.mark.parametrize(
    "classes", [[3, 10], [False, True], [1.0, 2.0], np.array(["a", "b"], dtype=object)]
)
def test_labels_come_back_as_they_were(
    classes: Any, make: Make, data: tuple[list[str], list[str]]
) -> None:
    texts = data[0]
    y = np.array([classes[int(label == "good")] for label in data[1]])
    estimator = make().fit(texts, y)
    assert estimator.classes_.tolist() == list(classes)
    found = estimator.predict(texts)
    assert (found.dtype, estimator.classes_.dtype) == (y.dtype, y.dtype)
    assert estimator.score(texts, y) > 0.9


def test_texts_have_the_columns_of_those_it_was_fitted_to(fitted: ULMFiTClassifier) -> None:
    for method in ("predict", "predict_proba", "transform"):
        with pytest.raises(DataError, match=r"texts, row 2: 2 texts a document, .* have 1; give"):
            getattr(fitted, method)(["a text", ("a title", "a text")])
        for missing in (None, np.nan, b"abc"):
            with pytest.raises(DataError, match=r"texts, row 2: found .* give a string, or a tup"):
                getattr(fitted, method)(["a text", missing])


def test_no_unlabelled_texts_are_none(make: Make, data: tuple[list[str], list[str]]) -> None:
    given = make(settings={"language_model": {"skip": True}}).fit(*data, unlabelled=[])
    without = make(settings={"language_model": {"skip": True}}).fit(*data)
    expected = without.predict_proba(data[0][:9])
    np.testing.assert_array_equal(given.predict_proba(data[0][:9]), expected)


def test_unlabelled_texts_have_the_columns_of_the_others(
    make: Make, data: tuple[list[str], list[str]]
) -> None:
    with pytest.raises(DataError, match=r"texts, row 1: 2 texts a document, .* have 1"):
        make().fit(*data, unlabelled=[("a title", "a text")])


def test_a_pickle_leaves_nothing_behind(
    fitted: ULMFiTClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    pickle.loads(pickle.dumps(fitted))
    assert not list(tmp_path.iterdir())


def test_a_pickle_holds_the_folder(
    fitted: ULMFiTClassifier, data: tuple[list[str], list[str]], make: Make
) -> None:
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(data[0]), fitted.predict_proba(data[0]))
    assert {"config.json", "model.safetensors"} <= fitted.__getstate__()["model_"].keys()
    assert fitted.model_.labels == ("bad", "good")
    assert pickle.loads(pickle.dumps(make())).directions == "forward"


def test_columns_of_every_library(
    fitted: ULMFiTClassifier, make: Make, data: tuple[list[str], list[str]]
) -> None:
    texts, labels = data
    expected = fitted.predict_proba(texts)
    frame = pd.DataFrame({"text": texts, "label": labels}, index=range(5, 5 + len(texts)))
    for given in (np.array(texts), tuple(texts), iter(texts), frame["text"], frame[["text"]]):
        np.testing.assert_array_equal(fitted.predict_proba(given), expected)
    again = make().fit(frame["text"], frame["label"])
    np.testing.assert_array_equal(again.predict_proba(texts), expected)


def test_polars_columns(fitted: ULMFiTClassifier, data: tuple[list[str], list[str]]) -> None:
    frame = polars.DataFrame({"text": data[0]})
    for given in (frame["text"], frame):
        np.testing.assert_array_equal(fitted.predict_proba(given), fitted.predict_proba(data[0]))


def test_several_text_columns(make: Make, data: tuple[list[str], list[str]]) -> None:
    texts, labels = data
    frame = pd.DataFrame({"title": ["a title"] * len(texts), "body": texts})
    estimator = make().fit(frame, labels)
    assert estimator.score(frame, labels) > 0.8
    pairs = list(frame.itertuples(index=False, name=None))
    np.testing.assert_array_equal(estimator.predict_proba(pairs), estimator.predict_proba(frame))
    assert estimator.feature_names_in_.tolist() == ["title", "body"]
    turned = frame[["body", "title"]]
    with pytest.raises(
        DataError, match=r"texts: found the columns 'body', 'title', .* 'title', 'b"
    ):
        pickle.loads(pickle.dumps(estimator)).predict(turned)
    with pytest.raises(DataError, match=r"unlabelled: found the columns 'body', 'title'"):
        make().fit(frame, labels, unlabelled=turned)
    assert not hasattr(estimator.fit(pairs[:9] * 2, labels[:9] * 2), "feature_names_in_")


def test_every_text_column_is_read(make: Make, data: tuple[list[str], list[str]]) -> None:
    texts, labels = data
    said = ["the film" if i % 2 else text for i, text in enumerate(texts)]
    meant = [text if i % 2 else "the film" for i, text in enumerate(texts)]
    pairs = list(zip(said, meant, strict=True))
    estimator = make().fit(pairs, labels)
    assert estimator.score(pairs, labels) > 0.8


def test_unlabelled_text_is_read_by_the_language_model(
    make: Make, data: tuple[list[str], list[str]]
) -> None:
    settings = make().settings
    assert settings is not None
    read = {**settings, "language_model": {"training": {"epochs": 1.0, "batch_size": 4}}}
    estimator = make(settings=read).fit(data[0][:30], data[1][:30], unlabelled=data[0][30:])
    record = estimator.model_.run["train"]
    assert "200 documents" in record["data"][1]
    assert not any("/" in line for line in record["data"])


def test_weights_of_documents_and_classes(make: Make, data: tuple[list[str], list[str]]) -> None:
    texts, labels = data
    wrong = ["good" if label == "bad" else "bad" for label in labels]
    weights = [1.0] * len(texts) + [0.0] * len(texts)
    weighted = make().fit(texts * 2, labels + wrong, sample_weight=weights)
    assert weighted.score(texts, labels) > 0.9
    heavy = make(class_weight={"bad": 200.0}).fit(texts * 2, labels + wrong)
    assert np.mean(heavy.predict(texts) == "bad") > 0.9


def test_inside_other_estimators(make: Make, data: tuple[list[str], list[str]]) -> None:
    texts, labels = np.array(data[0]), np.array(data[1])
    pipeline = make_pipeline(make(), LogisticRegression()).fit(texts, labels)  # on the vectors
    assert pipeline.score(texts, labels) > 0.9
    found = cross_val_predict(make(), texts, labels, cv=2)
    assert np.mean(found == labels) > 0.7
    search = GridSearchCV(make(), {"random_state": [0, 1]}, cv=2).fit(texts, labels)
    assert search.best_estimator_.score(texts, labels) > 0.9
    calibrated = CalibratedClassifierCV(make(), cv=2).fit(texts, labels)
    assert calibrated.score(texts, labels) > 0.8


def test_as_the_last_step_of_a_pipeline(make: Make, data: tuple[list[str], list[str]]) -> None:
    texts, labels = np.array(data[0]), np.array(data[1])
    upper = FunctionTransformer(np.char.upper)
    lower = FunctionTransformer(np.char.lower)
    pipeline = make_pipeline(upper, lower, make())
    found = cross_val_predict(pipeline, texts, labels, cv=2, method="predict_proba")
    assert found.shape == (len(texts), 2)
    assert np.mean(np.array(["bad", "good"])[found.argmax(1)] == labels) > 0.7


def test_vectors_do_not_depend_on_their_neighbours(
    fitted: ULMFiTClassifier, data: tuple[list[str], list[str]]
) -> None:
    before = fitted.__dict__.copy()
    vectors = fitted.transform(data[0])
    np.testing.assert_allclose(fitted.transform(data[0][::-3]), vectors[::-3], atol=1e-5)
    fitted.predict(data[0][:3])
    assert fitted.__dict__ == before


def test_labels_of_polars_and_sparse_matrices(
    make: Make, data: tuple[list[str], list[str]]
) -> None:
    texts, labels = data
    frame = polars.DataFrame({"text": texts, "label": labels})
    found = make().fit(frame["text"], frame["label"], unlabelled=frame["text"])
    assert found.classes_.tolist() == ["bad", "good"] and found.score(texts, labels) > 0.9
    truth = truth_of(texts)[:, :2]
    several = make().fit(texts, csr_matrix(truth))
    np.testing.assert_array_equal(
        several.predict_proba(texts), make().fit(texts, truth).predict_proba(texts)
    )


def truth_of(texts: list[str]) -> Any:
    """A matrix: whether the word of each class is there, and whether any is."""
    words = [CLASSES[name] for name in sorted(CLASSES)]
    matrix = np.array([[word in text for word in words] for text in texts], dtype=int)
    return np.concatenate([matrix, matrix.max(1, keepdims=True), 0 * matrix[:, :1]], axis=1)


def test_several_labels_are_a_matrix(make: Make) -> None:
    texts = [text.replace("superb", "old") if i % 3 else text for i, (text, _) in enumerate(
        made_up_reviews(200, seed=3))]  # fmt: skip
    truth = truth_of(texts)
    estimator = make().fit(texts, truth)
    assert estimator.classes_.tolist() == [0, 1, 2, 3]
    probabilities = estimator.predict_proba(texts)
    assert probabilities.shape == truth.shape and (probabilities[:, 3] == 0).all()
    found = estimator.predict(texts)
    assert np.mean((found == truth)[:, 0]) > 0.9 and set(np.unique(found)) <= {0, 1}
    assert estimator.score(texts, truth) == np.mean((found == truth).all(1))
    names = ["bad", "good", "any", "none"]
    named = make().fit(texts, pd.DataFrame(truth, columns=names))
    assert named.classes_.tolist() == names
    assert (np.mean(named.predict(texts) == truth, axis=0) > 0.75).all()  # columns in their order
    with pytest.raises(DataError, match="found a matrix of other values than 0 and 1"):
        make().fit(texts, truth * 2)


def test_numbers(make: Make, data: tuple[list[str], list[str]]) -> None:
    texts, labels = data
    numbers = np.where(np.array(labels) == "good", 4.5, 1.25)
    parameters = make().get_params()
    del parameters["class_weight"]
    regressor = clone(ULMFiTRegressor(**parameters)).fit(texts, numbers)
    found = regressor.predict(texts)
    assert found.shape == numbers.shape and regressor.score(texts, numbers) > 0.5
    again = pickle.loads(pickle.dumps(regressor))
    np.testing.assert_array_equal(again.predict(texts), found)
    with pytest.raises(DataError, match=r"found numbers with fractions.*ULMFiTRegressor"):
        make().fit(texts, numbers)
    with pytest.raises(NotFittedError):
        clone(regressor).predict(texts)


@pytest.mark.parametrize(
    ("parameters", "X", "y", "message"),
    [
        ({}, "one text", ["a"], "found one string; give a list of texts"),
        ({}, ["a", None], ["x", "y"], "texts, row 2: the text is missing"),
        ({}, ["a", "b"], ["x", None], "y, row 2: the label is missing .* give it as `unlabelled`"),
        ({}, ["a", "b"], [1.0, np.nan], "y, row 2: the label is missing"),
        ({}, ["a", "b"], ("x", np.nan), "y, row 2: the label is missing"),
        ({}, ["a", "b"], pd.array([1, None], dtype="Int64"), "y, row 2: the label is missing"),
        ({}, ["a", "b"], pd.array(["x", None]), "y, row 2: the label is missing"),
        (
            {"settings": {"validation": {"column": "held_out"}}},
            ["a", "b"],
            ["x", "y"],
            "found 'validation.column'; leave it out, texts in memory",
        ),
        (
            {"settings": {"self_training": {"rounds": 1}}},
            ["a", "b"],
            ["x", "y"],
            "'self_training.rounds': found 1, but no texts to label; give fit some",
        ),
        ({}, ["a", "b"], [["x"], ["x", "y"]], "y: found lists of different lengths; give"),
        (
            {"settings": {"classifier": {"task": "number"}}},
            ["a", "b"],
            ["x", "y"],
            "settings: found 'classifier.task'; leave it out, fit gives it itself",
        ),
        (
            {"settings": {"classifier": {"training": {"seed": 1}}}},
            ["a", "b"],
            ["x", "y"],
            "leave it out, it is the parameter random_state",
        ),
        ({}, ["a", "b", "c"], ["x", "y"], "texts, row 3: no label, there are only 2"),
        ({}, ["a", "b"], ["x", "x"], "^texts, row 1: .* have the label 'x'"),
        ({}, ["a", 5], ["x", "y"], "row 2: found 5 of type int as text"),
        ({"directions": "up"}, ["a", "b"], ["x", "y"], "setting 'directions': found 'up'"),
        ({"recipe": "none"}, ["a", "b"], ["x", "y"], "the shipped recipes are few-labels"),
        ({"settings": {"output": "x"}}, ["a", "b"], ["x", "y"], "leave it out, fit gives it"),
        ({"settings": {"directions": "both"}}, ["a"], ["x"], "it is a parameter of its own"),
        ({}, ["a", "b"], np.array([1, "a"], dtype=object), "y: found labels of several types"),
        ({}, ["a", "b"], ["x", float("nan")], "y, row 2: the label is missing"),
        ({}, [], [], "texts: none; give texts with their labels"),
        (
            {},
            ["a", "b"],
            pd.DataFrame([[1, 0], [0, 1]], columns=["x", "x"]),
            "y: found two columns of one name",
        ),
        ({"settings": {"epochs": 3}}, ["a", "b"], ["x", "y"], "unknown setting 'epochs'"),
        ({"settings": {"classifier": 5}}, ["a"], ["x"], "ULMFiTClassifier: setting 'classifier'"),
        ({"class_weight": {"z": 2.0}}, ["a", "b"], ["x", "y"], "label 'z' is none of"),
    ],
)
def test_what_is_wrong_is_named(
    parameters: dict[str, Any], X: Any, y: Any, message: str, make: Make
) -> None:
    with pytest.raises(UlmfitError, match=message):
        make(**parameters).fit(X, y)


@pytest.mark.parametrize("weights", [[1.0], [[1.0, 1.0]], [1.0, -1.0], [1.0, np.nan], [0, 0]])
def test_wrong_weights_are_named(weights: Any, make: Make) -> None:
    message = r"sample_weight(: found|: all are 0| of texts, row 2: found .* as weight)"
    with pytest.raises(DataError, match=message):
        make().fit(["a", "b"], ["x", "y"], sample_weight=weights)
    with pytest.raises(ConfigError):
        make(settings={"classifier": {"training": {"epochs": -1}}}).fit(["a", "b"], ["x", "y"])


def test_of_a_recipe_what_fits_counts(
    make: Make, data: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    """A file of settings may have been made for a file of documents."""
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        'data = "mine.csv"\noutput = "mine"\ndirections = "both"\nclassifier.task = "number"\n'
        'reading = {text_columns = ["body"], label_separator = "|"}\n'
        'validation.column = "held_out"\nclassifier.label_smoothing = 0.1\n'
    )
    texts, labels = data
    fitted = make(recipe=str(recipe)).fit(texts[:40], labels[:40])
    assert fitted.classes_.tolist() == ["bad", "good"]
    assert len(fitted.model_.members) == 1
    parameters = make(recipe=str(recipe)).get_params()
    del parameters["class_weight"]
    numbers = ULMFiTRegressor(**parameters).fit(texts[:40], np.arange(40) / 8)
    assert numbers.predict(texts[:3]).shape == (3,)
    smoothed = ULMFiTRegressor(**{**parameters, "settings": {"classifier": {"focal_gamma": 2}}})
    with pytest.raises(ConfigError, match=r"'classifier.focal_gamma': found 2.0, but .* give 0.0"):
        smoothed.fit(texts[:40], np.arange(40) / 8)


def test_a_file_of_validation_documents(make: Make, reviews: Path) -> None:
    table = pd.read_csv(reviews)
    settings = {**(make().settings or {}), "validation": {"path": str(reviews)}}
    fitted = make(settings=settings).fit(table["text"][:40], table["label"][:40])
    told = fitted.model_.run["train"]["data"][0]
    assert f"40 documents to train on, {len(table)} held out" in told


def test_it_reads_where_it_was_trained(
    make: Make, data: tuple[list[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    load = TextClassifier.from_pretrained

    def spied(name: Any, *, device: str = "cpu") -> TextClassifier:
        asked.append(device)
        return load(name, device="cpu")

    monkeypatch.setattr(TextClassifier, "from_pretrained", spied)
    fitted = make().fit(data[0][:40], data[1][:40])
    pickle.loads(pickle.dumps(fitted))
    assert asked == ["auto", "auto"]


# Other libraries, as they are


def label_with_a_word_that_tells(fitted: ULMFiTClassifier, text: str) -> str:
    """Return what `text`, which has no word that tells, is not taken for: that has to be told."""
    (taken_for,) = fitted.predict([text])
    (other,) = set(CLASSES) - {taken_for}
    return other


def test_lime_finds_the_word_that_tells(fitted: ULMFiTClassifier) -> None:
    from lime.lime_text import LimeTextExplainer

    text = "we saw the film in a small old room and it was"
    label = label_with_a_word_that_tells(fitted, text)
    index = fitted.classes_.tolist().index(label)
    explainer = LimeTextExplainer(class_names=fitted.classes_.tolist(), random_state=0)
    explained = explainer.explain_instance(
        f"{text} {CLASSES[label]}", fitted.predict_proba, labels=(index,), num_samples=300
    )
    word, weight = max(explained.as_list(index), key=lambda each: abs(each[1]))
    assert word == CLASSES[label] and weight > 0.2


def test_shap_finds_the_word_that_tells(fitted: ULMFiTClassifier) -> None:
    import shap

    label = label_with_a_word_that_tells(fitted, "the film was in a room")
    text = f"the film was {CLASSES[label]} in a room"
    masker = shap.maskers.Text(r"\W+")
    explainer = shap.Explainer(fitted.predict_proba, masker, output_names=["bad", "good"], seed=0)
    (explained,) = explainer([text])
    values = explained.values[:, fitted.classes_.tolist().index(label)]
    for_label = dict(zip(map(str.strip, explained.data), values, strict=True))
    assert max(for_label, key=lambda word: for_label[word]) == CLASSES[label]
    assert for_label[CLASSES[label]] > 0.2
    np.testing.assert_allclose(
        explained.base_values + explained.values.sum(0),
        fitted.predict_proba([text])[0],
        atol=1e-3,
    )


def test_cleanlab_finds_the_wrong_labels(make: Make, data: tuple[list[str], list[str]]) -> None:
    from cleanlab.classification import CleanLearning

    texts, labels = np.array(data[0]), (np.array(data[1]) == "good").astype(int)
    wrong = np.random.default_rng(0).choice(len(labels), 12, replace=False)
    told = labels.copy()
    told[wrong] = 1 - told[wrong]
    learning = CleanLearning(make(), cv_n_folds=3, seed=0)
    issues = learning.find_label_issues(texts, told)
    found = np.flatnonzero(issues["is_label_issue"])
    assert len({*found} & {*wrong}) >= 9
