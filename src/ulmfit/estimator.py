"""Estimators of scikit-learn: `fit` on texts in memory, `predict`, `clone`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ulmfit.config.data import ReadingConfig
from ulmfit.config.settings import check_part, from_dict, overlaid, read_values
from ulmfit.config.stages import OF_LABELS, TrainConfig
from ulmfit.data.answers import given_labels
from ulmfit.data.sources import Document, as_weight, is_empty, is_missing, read_documents
from ulmfit.errors import ConfigError, DataError
from ulmfit.models.text_classifier import TextClassifier
from ulmfit.text.types import Text, checked_texts, columns_of

GIVEN = ("data", "unlabelled", "output", "cache", "reading", "resume", "overwrite")
NOT_SETTINGS = {
    **dict.fromkeys((*GIVEN, "classifier.task"), "fit gives it itself"),
    **dict.fromkeys(("pretrained", "directions"), "it is a parameter of its own"),
    **dict.fromkeys(
        ("language_model.training.seed", "classifier.training.seed"),
        "it is the parameter random_state",
    ),
    "validation.column": "texts in memory have no other columns; give validation.path",
}
"""Settings of `ulmfit train` that have no place in `settings`, and why; a recipe's are left out."""


class ULMFiTEstimator(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """What the classifier and the regressor share.

    Texts are a list, an array, or a column of pandas or polars, of strings; several columns are
    tuples of strings, or a data frame. The columns of a file for `validation.path` are `text` or,
    of several, `text 0`, `text 1` and so on, and `label`.
    """

    def __init__(
        self,
        *,
        pretrained: str = "wikipedia-en-small",
        recipe: str | None = None,
        directions: str = "both",
        settings: Mapping[str, Any] | None = None,
        random_state: Any = 0,
        verbose: bool = False,
    ) -> None:
        self.pretrained = pretrained
        self.recipe = recipe
        self.directions = directions
        self.settings = settings
        self.random_state = random_state
        self.verbose = verbose

    def transform(self, X: Iterable[Any]) -> NDArray[np.float32]:
        """Return document vectors [texts, features]: the pooled outputs of each direction."""
        texts = self._checked_texts(X)
        return self.model_.encode(texts)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "model_" in state:
            with TemporaryDirectory(prefix="ulmfit-") as folder:
                model = Path(folder) / "model"  # with its lock beside it
                self.model_.save_pretrained(model)
                state["model_"] = {p.name: p.read_bytes() for p in model.iterdir()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "model_" in state:
            with TemporaryDirectory(prefix="ulmfit-") as folder:
                for name, content in state["model_"].items():
                    (Path(folder) / name).write_bytes(content)
                model = TextClassifier.from_pretrained(folder, device="auto")
            state = {**state, "model_": model}
        super().__setstate__(state)

    def _train(
        self,
        X: Iterable[Any],
        labels: list[Any],
        classifier: Mapping[str, Any],
        unlabelled: Iterable[Any] | None,
        sample_weight: ArrayLike | None,
    ) -> list[Document]:
        """Train `model_` with the settings of `classifier`; return the documents it was given."""
        from ulmfit.stages.train import train

        _check_labels(labels)
        names = getattr(X, "columns", None)
        _check_columns(unlabelled, names, "unlabelled")
        labelled = list(read_documents((_texts(X), labels), ReadingConfig(), labelled=True))
        if not labelled:
            raise DataError("texts: none; give texts with their labels")
        given = _texts([] if unlabelled is None else unlabelled)
        others = list(read_documents(given, ReadingConfig(), labelled=False))
        with TemporaryDirectory(prefix="ulmfit-", ignore_cleanup_errors=True) as folder:
            config = self._config(Path(folder), labelled, bool(others), classifier)
            reading = config.reading
            if sample_weight is not None:
                config = replace(config, reading=replace(reading, weight_column="weight"))
            _write(config.data, reading, _weighted(labelled, sample_weight))
            for path in config.unlabelled:
                _write(path, reading, others)
            with _named_as_given(config):
                trained = train(config, quiet=not self.verbose)
            device = config.classifier.training.device
            self.model_ = TextClassifier.from_pretrained(trained, device=device)
        if names is not None:
            self.feature_names_in_ = np.array(list(names), dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return labelled

    def _answers(self, X: Iterable[Any]) -> NDArray[np.float32]:
        texts = self._checked_texts(X)
        return self.model_.predict_proba(texts)

    def _checked_texts(self, X: Iterable[Any]) -> list[Text]:
        """Return texts of as many columns as those it was fitted to."""
        check_is_fitted(self, "model_")
        _check_columns(X, getattr(self, "feature_names_in_", None), "texts")
        texts, fitted = list(checked_texts(_texts(X))), self.model_.text_columns
        for row, text in enumerate(texts, 1):
            if fitted not in (None, len(columns_of(text))):
                raise DataError(
                    f"texts, row {row}: {len(columns_of(text))} texts a document, where those it "
                    f"was fitted to have {fitted}; give the same columns"
                )
        return texts

    def _config(
        self,
        folder: Path,
        labelled: list[Document],
        unlabelled: bool,
        classifier: Mapping[str, Any],
    ) -> TrainConfig:
        """Return the settings of the run whose files are in `folder`."""
        settings = dict(self.settings or {})
        for name, place in NOT_SETTINGS.items():
            if _holds(settings, name.split(".")):
                raise ConfigError(f"settings: found '{name}'; leave it out, {place}")
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        columns = len(columns_of(labelled[0].text))
        several = columns > 1
        given = {
            "data": str(folder / "labelled.jsonl"),
            "unlabelled": (str(folder / "unlabelled.jsonl"),) if unlabelled else (),
            "output": str(folder / "model"),
            "cache": str(folder / "cache"),
            "pretrained": self.pretrained,
            "directions": self.directions,
            "reading": {
                "text_columns": tuple(f"text {i}" for i in range(columns)) if several else ("text",)
            },
            "language_model": {"training": {"seed": int(seed)}},
            "classifier": {"training": {"seed": int(seed)}, **classifier},
        }
        name = type(self).__name__
        recipe = read_values(self.recipe) if self.recipe else {}
        check_part(TrainConfig, recipe, str(self.recipe))
        check_part(TrainConfig, settings, name)
        of_labels = [f"classifier.{each}" for each in OF_LABELS]
        for each in [*NOT_SETTINGS, *(of_labels if classifier["task"] == "number" else ())]:
            recipe = _without(recipe, each.split("."))
        values = overlaid(TrainConfig, recipe, settings)
        config = from_dict(TrainConfig, overlaid(TrainConfig, values, given), name)
        if config.self_training.rounds and not unlabelled:
            raise ConfigError(
                f"setting 'self_training.rounds': found {config.self_training.rounds}, but no "
                "texts to label; give fit some as `unlabelled`"
            )
        return config


class ULMFiTClassifier(ClassifierMixin, ULMFiTEstimator):  # type: ignore[misc]
    """Stages 2 and 3 of ULMFiT (Howard & Ruder 2018), from lists of texts and labels.

    Texts are a list, an array, or a column of pandas or polars, of strings; several columns are
    tuples of strings, or a data frame. Labels are of any kind that NumPy sorts; for texts with
    several, a matrix of 0 and 1 [texts, labels], as scikit-learn's `MultiLabelBinarizer` makes it.

    Args:
        pretrained: folder, shipped name, or hub id of the language model to start from.
        recipe: name of a shipped recipe, such as `few-labels`, or a file of settings; without it,
            the settings are the defaults of `ulmfit train`.
        directions: `forward`, `backward`, or `both`, whose probabilities are averaged.
        class_weight: `balanced`, or the weights of classes that are not to have 1, by label.
        settings: other settings of `ulmfit train`, nested as in a file; they replace the recipe's.
        random_state: seed of all draws: the same one, the same bits on the same CPU.
        verbose: whether progress and warnings are shown.

    Attributes:
        classes_: the labels, sorted, [classes]; of a matrix, its columns' names or numbers.
        feature_names_in_: the columns of the data frame it was fitted to, if it was one.
        model_: the `TextClassifier`; `model_.save_pretrained` keeps it as a folder.
    """

    def __init__(
        self,
        *,
        pretrained: str = "wikipedia-en-small",
        recipe: str | None = None,
        directions: str = "both",
        class_weight: str | Mapping[Any, float] | None = None,
        settings: Mapping[str, Any] | None = None,
        random_state: Any = 0,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            pretrained=pretrained,
            recipe=recipe,
            directions=directions,
            settings=settings,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def fit(
        self,
        X: Iterable[Any],
        y: ArrayLike,
        unlabelled: Iterable[Any] | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> ULMFiTClassifier:
        """Fine-tune the language model on all texts, then the classifier on those with labels.

        `unlabelled` are further texts for the language model; `sample_weight` [texts] are numbers
        of 0 or more.

        Raises `UlmfitError` for wrong settings or data.
        """
        columns = getattr(y, "columns", None)
        y = _as_array(y)
        if y.ndim == 2 and y.shape[1] > 1:
            return self._fit_several(X, y, columns, unlabelled, sample_weight)
        y = y.reshape(-1)
        if y.dtype.kind == "f" and np.any(y[np.isfinite(y)] % 1):
            raise DataError("y: found numbers with fractions; give classes, or ULMFiTRegressor")
        labels, classes = y.tolist(), _classes(y)
        given = {"task": "single_label", **self._class_weights()}
        labelled = self._train(X, labels, given, unlabelled, sample_weight)
        self.classes_ = classes
        names = {label: each.label for label, each in zip(labels, labelled, strict=True)}
        places = [self.model_.labels.index(str(names[label])) for label in self.classes_.tolist()]
        self._columns = np.array(places)
        return self

    def predict(self, X: Iterable[Any]) -> NDArray[Any]:
        """Return the likeliest class of each text, [texts].

        Of several labels, a matrix of 0 and 1 [texts, labels].
        """
        answers = self._answers(X)
        task = self.model_.task
        if task.kind == "multi_label":
            return self._arranged(given_labels(task, answers).astype(np.int64))
        found: NDArray[Any] = self.classes_[self._arranged(answers).argmax(axis=1)]
        return found

    def predict_proba(self, X: Iterable[Any]) -> NDArray[np.float32]:
        """Return the probabilities [texts, classes], in the order of `classes_`."""
        return self._arranged(self._answers(X))

    def _fit_several(
        self,
        X: Iterable[Any],
        y: NDArray[Any],
        columns: Any,
        unlabelled: Iterable[Any] | None,
        sample_weight: ArrayLike | None,
    ) -> ULMFiTClassifier:
        """Fit a matrix [texts, labels] of 0 and 1."""
        if not np.isin(y, (0, 1)).all():
            raise DataError("y: found a matrix of other values than 0 and 1; give 1 for a label")
        names = np.arange(y.shape[1]) if columns is None else np.array(list(columns))
        if len(set(map(str, names))) < len(names):
            raise DataError("y: found two columns of one name; rename one of them")
        labels = [[str(names[i]) for i in np.flatnonzero(row)] for row in y]
        given = {"task": "multi_label", **self._class_weights()}
        self._train(X, labels, given, unlabelled, sample_weight)
        self.classes_ = names
        places = {name: place for place, name in enumerate(self.model_.labels)}
        self._columns = np.array([places.get(str(name), -1) for name in names])
        return self

    def _arranged(self, answers: NDArray[Any]) -> NDArray[Any]:
        """Return answers by `classes_`; a label that no text had has the probability 0."""
        arranged: NDArray[Any] = answers[:, self._columns]
        arranged[:, self._columns < 0] = 0
        return arranged

    def _class_weights(self) -> dict[str, Any]:
        if self.class_weight is None:
            return {}
        return {"class_weights": _by_name(self.class_weight)}


class ULMFiTRegressor(RegressorMixin, ULMFiTEstimator):  # type: ignore[misc]
    """Stages 2 and 3 of ULMFiT (Howard & Ruder 2018), from lists of texts and numbers.

    Its parameters are those of `ULMFiTClassifier`, but for `class_weight`. The numbers answered
    are of a range: that of `y`, widened a little, or the setting `classifier.range`.

    Attributes:
        model_: the `TextClassifier`; `model_.save_pretrained` keeps it as a folder.
    """

    def fit(
        self,
        X: Iterable[Any],
        y: ArrayLike,
        unlabelled: Iterable[Any] | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> ULMFiTRegressor:
        """Fine-tune the language model on all texts, then the regressor on those with numbers.

        `y` is [texts]; the rest is as in `ULMFiTClassifier`.

        Raises `UlmfitError` for wrong settings or data.
        """
        numbers = np.asarray(y, dtype=np.float64).reshape(-1).tolist()
        self._train(X, numbers, {"task": "number"}, unlabelled, sample_weight)
        return self

    def predict(self, X: Iterable[Any]) -> NDArray[np.float32]:
        """Return the number of each text, [texts]."""
        return self._answers(X)[:, 0]


def _as_array(y: Any) -> NDArray[Any]:
    """Return labels [texts], or a matrix of them [texts, labels], sparse or not."""
    try:
        array = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
    except ValueError:
        raise DataError(
            "y: found lists of different lengths; give several labels a text as a matrix of 0 and "
            "1, as scikit-learn's MultiLabelBinarizer makes it"
        ) from None
    words = array.dtype.kind == "U"
    if words and isinstance(y, list | tuple) and not all(isinstance(label, str) for label in y):
        return np.array(y, dtype=object)  # NumPy would write what is missing as a word
    return array


def _classes(labels: NDArray[Any]) -> NDArray[Any]:
    """Return the labels that there are, sorted."""
    try:
        return np.unique(labels)
    except TypeError:
        if any(map(is_missing, labels.tolist())):
            return labels  # what is missing is told with its row
        raise DataError(
            "y: found labels of several types, which cannot be sorted; make all of them strings, "
            "or numbers"
        ) from None


def _check_labels(labels: Iterable[Any]) -> None:
    for row, label in enumerate(labels, 1):
        if is_empty(label):
            raise DataError(
                f"y, row {row}: the label is missing (empty, NaN or null); fill it in, leave the "
                "text out or, to learn from it alone, give it as `unlabelled`"
            )


def _by_name(weights: str | Mapping[Any, float]) -> str | dict[str, float]:
    """Return class weights by the labels' names; a word as it is."""
    if isinstance(weights, str):
        return weights
    documents = read_documents(([""] * len(weights), list(weights)), ReadingConfig(), labelled=True)
    return {str(d.label): w for d, w in zip(documents, weights.values(), strict=True)}


def _holds(settings: Any, path: Sequence[str]) -> bool:
    """Tell whether nested settings give the one at `path`."""
    for name in path:
        if not isinstance(settings, Mapping) or name not in settings:
            return False
        settings = settings[name]
    return True


def _without(settings: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """Return nested settings without the one at `path`."""
    if not _holds(settings, path):
        return dict(settings)
    first, *rest = path
    others = {name: value for name, value in settings.items() if name != first}
    return {**others, first: _without(settings[first], rest)} if rest else others


@contextmanager
def _named_as_given(config: TrainConfig) -> Iterator[None]:
    """Let messages about the files of `config` name what was given to `fit` in their place."""
    try:
        yield
    except DataError as error:
        message = str(error).replace(config.data, "texts")
        for path in config.unlabelled:
            message = message.replace(path, "unlabelled")
        raise DataError(message) from None


def _check_columns(texts: Any, fitted: Iterable[Any] | None, what: str) -> None:
    """Refuse a data frame of other columns than those it was fitted to, if they had names."""
    if fitted is None or not hasattr(texts, "columns") or list(texts.columns) == list(fitted):
        return
    found, expected = (", ".join(map(repr, names)) for names in (texts.columns, fitted))
    raise DataError(
        f"{what}: found the columns {found}, where those it was fitted to are {expected}; give "
        "the same ones in the same order"
    )


def _texts(texts: Any) -> Iterator[Text]:
    """Yield texts from what scikit-learn hands around; a table's rows are tuples of its columns."""
    if isinstance(texts, str):
        raise DataError("texts: found one string; give a list of texts")
    if hasattr(texts, "columns"):
        rows = (
            texts.itertuples(index=False, name=None)
            if hasattr(texts, "itertuples")
            else texts.iter_rows()
        )
    else:
        rows = iter(texts)
    for row in rows:
        several = tuple(row) if isinstance(row, tuple | list | np.ndarray) else (row,)
        yield several[0] if len(several) == 1 else several


def _weighted(documents: list[Document], sample_weight: ArrayLike | None) -> Iterator[Document]:
    """Yield the documents with their weights."""
    if sample_weight is None:
        yield from documents
        return
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.size and not weights.any():
        raise DataError("sample_weight: all are 0; give some above 0")
    if weights.shape != (len(documents),):
        raise DataError(
            f"sample_weight: found the shape {weights.shape} for {len(documents)} texts; give a "
            "number for each"
        )
    for document, weight in zip(documents, weights.tolist(), strict=True):
        yield replace(document, weight=as_weight(weight, f"sample_weight of {document.where}"))


def _write(path: str, reading: ReadingConfig, documents: Iterable[Document]) -> None:
    """Write documents as JSON lines, in the columns that `reading` names."""
    with open(path, "w", encoding="utf-8") as file:
        for document in documents:
            columns = columns_of(document.text)
            if len(columns) != len(reading.text_columns):
                raise DataError(
                    f"{document.where}: {len(columns)} texts a document, where those with labels "
                    f"have {len(reading.text_columns)}; give `unlabelled` the same columns"
                )
            texts = zip(reading.text_columns, columns, strict=True)
            row = {**dict(texts), "label": document.label, "weight": document.weight}
            file.write(json.dumps(row) + "\n")
