"""scikit-learn estimators on a frozen GPT: features of texts, and a classifier on top of them.

Both take lists of texts, or of pairs of texts. They hold names and numbers, never a model: pickling one writes no
weights, and whoever unpickles it loads the model by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from gptapps.decoding.features import length_batches, read_features
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.model_identity import model_identity
from gptapps.errors import DataError, OptionError
from gptapps.heads.features import POOLINGS, Features
from gptapps.integrations.feature_memory import FeatureMemory
from gptapps.model_store import DEFAULT_MODEL
from gptapps.pipelines.head_inputs import HeadInputs
from gptapps.task_catalog import resolve_task
from gptapps.training.logistic import Scaling, fitted_weights

Texts = Iterable[str] | Iterable[Sequence[str]]

_DEPTH = 0.65  # of the layers, where none is named
_MODELS = 2  # that stay loaded
_MEMORY = FeatureMemory()


class _OnFrozenModel(BaseEstimator):  # type: ignore[misc]
    """What both estimators share: which model, which layer, and the texts they take."""

    def __init__(
        self,
        model: str | LanguageModel = DEFAULT_MODEL,
        *,
        layer: int | None = None,
        poolings: Sequence[str] = POOLINGS,
        task: str = "classify",
        language: str | None = None,
        device: str | None = None,
    ) -> None:
        self.model = model
        self.layer = layer
        self.poolings = poolings
        self.task = task
        self.language = language
        self.device = device

    def _features(self, texts: Texts) -> npt.NDArray[np.float32]:
        model = self._loaded()
        wanted = self._wanted(model)
        inputs = HeadInputs(resolve_task(self.task), model)
        ids = [self._encoded(inputs, number, text) for number, text in enumerate(_checked(texts), 1)]
        key = (model_identity(model)["sha256"], str(model.backbone.device), model.backbone.dtype, wanted)
        known = {text: row for text in set(ids) if (row := _MEMORY.get((key, text))) is not None}
        waiting = [text for text in dict.fromkeys(ids) if text not in known]
        for batch in length_batches([len(text) for text in waiting]):
            rows = read_features(model, [waiting[number] for number in batch], wanted).numpy()
            for number, row in zip(batch, rows, strict=True):
                known[waiting[number]] = row
                _MEMORY.put((key, waiting[number]), row)
        return np.stack([known[text] for text in ids])

    def _loaded(self) -> LanguageModel:
        if isinstance(self.model, LanguageModel):
            return self.model
        return _load(self.model, self.device)

    def _wanted(self, model: LanguageModel) -> Features:
        count = model.backbone.config.layers
        layer = max(1, round(count * _DEPTH)) if self.layer is None else self.layer
        if not isinstance(layer, int | np.integer) or not 0 <= layer <= count:
            raise OptionError(f"layer is {layer!r}, but has to be a whole number from 0 to {count}.")
        if not self.poolings or not set(self.poolings) <= set(POOLINGS):
            raise OptionError(f"poolings are {self.poolings!r}, but have to be among {', '.join(POOLINGS)}.")
        return Features((int(layer),), tuple(pooling for pooling in POOLINGS if pooling in self.poolings))

    def _encoded(self, inputs: HeadInputs, number: int, text: str | tuple[str, str]) -> tuple[int, ...]:
        first, second = (text, None) if isinstance(text, str) else text
        fields = {"text": first, "text_pair": second, "labels": ()}
        try:
            return inputs.encode(fields, "text", language=self.language).ids
        except DataError as error:
            raise DataError(f"Text {number}: {error}") from None

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        model = state.get("model")
        return {**state, "model": model.name} if isinstance(model, LanguageModel) else state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = replace(tags.input_tags, string=True, one_d_array=True, two_d_array=False)
        return tags


class GPTFeatures(TransformerMixin, _OnFrozenModel):  # type: ignore[misc]
    """Turns texts into features: hidden states of a frozen GPT's layer.

    Texts that were read lately are remembered, so that cross-validation reads each once.

    Args:
        model: a packaged model's name, a directory, a GGUF file, a hub id, or a loaded LanguageModel.
        layer: which, 0 being the embedding; None takes one a little above the middle.
        poolings: ``"last"``, ``"mean"`` or both, one behind the other.
        task: the task whose plain prompt stands around a text.
        language: of the prompt; by default that of the text.
        device: such as "cpu"; the GPU where there is one.

    Example:
        >>> from sklearn.linear_model import Ridge
        >>> from sklearn.pipeline import make_pipeline
        >>> stars = make_pipeline(GPTFeatures(), Ridge())                              # doctest: +SKIP
        >>> stars.fit(["Loved it.", "Never again."], [5, 1]).predict(["Fine."])        # doctest: +SKIP
    """

    def fit(self, X: Texts, y: object = None) -> Self:
        """Check the texts; there is nothing to learn."""
        texts, model = _checked(X), self._loaded()
        self.n_features_out_ = self._wanted(model).size(model.backbone.config.channels)
        self.n_texts_ = len(texts)
        return self

    def transform(self, X: Texts) -> npt.NDArray[np.float32]:
        """Return the features (N, F) of N texts.

        Raises:
            DataError: something else than texts, or an empty one.
        """
        check_is_fitted(self)
        return self._features(X)

    def get_feature_names_out(self, input_features: object = None) -> npt.NDArray[np.object_]:
        """Return a name for each feature."""
        check_is_fitted(self)
        return np.array([f"gpt{number}" for number in range(self.n_features_out_)], dtype=object)


class GPTClassifier(ClassifierMixin, _OnFrozenModel):  # type: ignore[misc]
    """Labels texts by a logistic regression on a frozen GPT's features.

    Args:
        model, layer, poolings, task, language, device: see :class:`GPTFeatures`.
        penalty: strength of the L2 penalty; 1 / (penalty x rows) is LogisticRegression's C.
        class_weight: None, ``"balanced"``, or label -> weight.

    Attributes:
        classes_: the labels, sorted.
        coef_: (labels, features), and ``intercept_`` (labels,), for features as they come.

    Example:
        >>> from sklearn.model_selection import GridSearchCV
        >>> search = GridSearchCV(GPTClassifier(), {"penalty": [0.1, 1.0], "layer": [16, 20]})     # doctest: +SKIP
        >>> search.fit(texts, labels).predict(["Where is my parcel?"])                             # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | LanguageModel = DEFAULT_MODEL,
        *,
        layer: int | None = None,
        poolings: Sequence[str] = POOLINGS,
        penalty: float = 1.0,
        class_weight: Any = None,
        task: str = "classify",
        language: str | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__(model, layer=layer, poolings=poolings, task=task, language=language, device=device)
        self.penalty = penalty
        self.class_weight = class_weight

    def fit(self, X: Texts, y: Sequence[Any], sample_weight: Sequence[float] | None = None) -> Self:
        """Learn from texts and their labels; what was learned before is forgotten.

        Raises:
            DataError: something else than texts, as many labels as texts, or fewer than two different labels.
            OptionError: a penalty that isn't above 0, or a layer that isn't there.
        """
        texts, labels = _checked(X), np.asarray(y)
        if labels.ndim != 1 or len(labels) != len(texts):
            raise DataError(f"There are {len(texts)} texts and labels of shape {labels.shape}: give one label a text.")
        check_classification_targets(labels)
        if not isinstance(self.penalty, int | float | np.number) or not self.penalty > 0:
            raise OptionError(f"penalty is {self.penalty!r}, but has to be a number above 0.")
        classes, targets = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise DataError(
                f"All texts have the label {classes[0]!r}, and there have to be two: add some with another."
            )
        weights = compute_sample_weight(self.class_weight, labels)
        if sample_weight is not None:
            weights = weights * np.asarray(sample_weight, np.float64)
        rows = self._features(texts)
        scaling = Scaling.of(rows)
        fitted = fitted_weights(scaling.apply(rows), targets, weights, len(classes), float(self.penalty))
        self.classes_ = classes
        self.coef_, self.intercept_ = scaling.undone(*fitted)
        return self

    def decision_function(self, X: Texts) -> npt.NDArray[np.float64]:
        """Return every label's score (N, labels); with two labels, (N,) how far the second is ahead."""
        check_is_fitted(self)
        scores = self._features(X).astype(np.float64) @ self.coef_.T + self.intercept_
        return np.asarray(scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores)

    def predict_proba(self, X: Texts) -> npt.NDArray[np.float64]:
        """Return every label's probability (N, labels), in the order of ``classes_``."""
        check_is_fitted(self)
        scores = self._features(X).astype(np.float64) @ self.coef_.T + self.intercept_
        return np.asarray(torch.from_numpy(scores).softmax(1).numpy())

    def predict(self, X: Texts) -> npt.NDArray[Any]:
        """Return the likeliest label (N,) of each text."""
        check_is_fitted(self)
        return np.asarray(self.classes_[self.predict_proba(X).argmax(1)])


def _checked(texts: Any) -> list[str | tuple[str, str]]:
    if isinstance(texts, str):
        raise DataError("Estimators take a list of texts, and this is one text: put it in a list.")
    try:
        given = list(texts)
    except TypeError:
        raise DataError(f"Estimators take a list of texts, not {type(texts).__name__}.") from None
    if not given:
        raise DataError("There are no texts: give at least one.")
    return [_text(number, text) for number, text in enumerate(given, 1)]


def _text(number: int, given: Any) -> str | tuple[str, str]:
    parts = (given,) if isinstance(given, str) else given
    is_text = isinstance(parts, tuple | list | np.ndarray) and 1 <= len(parts) <= 2
    if not is_text or not all(isinstance(part, str) and part.strip() for part in parts):
        shown = repr(given)
        raise DataError(
            f"Text {number} is {shown if len(shown) < 60 else f'{shown[:57]}...'}: give a text that isn't empty, or a "
            "pair of them."
        )
    first, *second = map(str, parts)
    return (first, second[0]) if second else first


@lru_cache(maxsize=_MODELS)
def _load(name: str, device: str | None) -> LanguageModel:
    return LanguageModel.load(name, device=device)
