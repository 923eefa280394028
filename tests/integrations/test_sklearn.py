"""GPTClassifier and GPTFeatures inside scikit-learn's own tools.

``check_estimator`` gives up on estimators of texts after its first check. Those of its checks that give an estimator no
data are run one by one, they are listed in :data:`CHECKS`; what the others look at is tested here on texts.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from joblib import parallel_backend
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from tiny_language_model import one_thread, write_tiny_model

from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import DataError, GPTAppsError, OptionError
from gptapps.integrations import sklearn as integration
from gptapps.sklearn import GPTClassifier, GPTFeatures

TEXTS = [f"{number}: the {word} by the river" for number in range(6) for word in ("rain", "soup", "fog", "oven")]
LABELS = ["weather", "kitchen"] * 12

CHECKS = (
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
)
"""Those of scikit-learn's checks that give an estimator no data."""


@pytest.fixture(autouse=True)
def quietly() -> Iterator[None]:
    """Use one thread."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, default_model: LanguageModel) -> str:
    """The folder of a tiny random model."""
    return str(write_tiny_model(tmp_path_factory.mktemp("tiny"), default_model.tokenizer))


@pytest.fixture
def classifier(tiny: str) -> GPTClassifier:
    """An unfitted classifier on it."""
    return GPTClassifier(tiny)


def test_fit_returns_self_and_predicts(classifier: GPTClassifier) -> None:
    assert classifier.fit(TEXTS, LABELS) is classifier
    assert classifier.classes_.tolist() == ["kitchen", "weather"]
    assert classifier.score(TEXTS, LABELS) == 1
    probabilities = classifier.predict_proba(np.array(TEXTS, dtype=object))
    assert probabilities.shape == (24, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    ahead = classifier.decision_function(TEXTS)
    np.testing.assert_array_equal(ahead > 0, classifier.predict(TEXTS) == "weather")


def test_labels_may_be_numbers_and_more_than_two(classifier: GPTClassifier) -> None:
    labels = np.array([0, 1, 2, 1] * 6)
    classifier.fit(TEXTS, labels)
    assert classifier.decision_function(TEXTS).shape == (24, 3)
    assert classifier.predict(TEXTS).dtype == labels.dtype


def test_a_refit_forgets(classifier: GPTClassifier, tiny: str) -> None:
    classifier.fit(TEXTS[:8], ["x", "y", "z", "x"] * 2).fit(TEXTS, LABELS)
    fresh = GPTClassifier(tiny).fit(TEXTS, LABELS)
    np.testing.assert_array_equal(classifier.coef_, fresh.coef_)
    np.testing.assert_array_equal(classifier.classes_, fresh.classes_)


def test_parameters_are_read_set_and_cloned(tiny: str) -> None:
    classifier = GPTClassifier(tiny, layer=1, penalty=3.0, class_weight="balanced")
    copy = clone(classifier)
    assert copy.get_params() == classifier.get_params()
    assert copy.set_params(layer=2).layer == 2
    assert classifier.layer == 1
    with pytest.raises(ValueError, match="Invalid parameter 'depth'"):
        copy.set_params(depth=3)


def test_a_clone_shares_the_loaded_model(tiny: str) -> None:
    model = LanguageModel.load(tiny)
    assert clone(GPTClassifier(model)).model is model
    assert clone(GPTFeatures(model)).model is model


def test_features_are_pickled_unfitted_and_fitted(tiny: str) -> None:
    features = GPTFeatures(tiny, layer=1)
    assert pickle.loads(pickle.dumps(features)).get_params() == features.get_params()
    features.fit(TEXTS)
    pickled = pickle.dumps(features)
    assert len(pickled) < 10_000
    np.testing.assert_array_equal(pickle.loads(pickled).transform(TEXTS), features.transform(TEXTS))


def test_a_layer_is_chosen_within_a_pipeline(tiny: str) -> None:
    steps = make_pipeline(GPTFeatures(tiny), StandardScaler(), LogisticRegression())
    search = GridSearchCV(steps, {"gptfeatures__layer": [1, 2], "logisticregression__C": [0.1, 1.0]}, cv=2)
    search.fit(TEXTS, LABELS)
    assert search.best_estimator_[0].layer in (1, 2)
    assert search.score(TEXTS, LABELS) > 0.9


@pytest.mark.parametrize("wrong", ["one text", 3, [], [1, 2], [None]])
def test_wrong_texts_are_refused_by_every_method(wrong: Any, classifier: GPTClassifier, tiny: str) -> None:
    classifier.fit(TEXTS, LABELS)
    features = GPTFeatures(tiny).fit(TEXTS)
    for call in (classifier.predict, classifier.predict_proba, features.transform, GPTFeatures(tiny).fit):
        with pytest.raises(DataError):
            call(wrong)


def test_pickles_hold_no_weights(classifier: GPTClassifier) -> None:
    assert len(pickle.dumps(classifier)) < 2_000
    classifier.fit(TEXTS, LABELS)
    pickled = pickle.dumps(classifier)
    assert len(pickled) < 10_000
    restored = pickle.loads(pickled)
    np.testing.assert_array_equal(restored.predict_proba(TEXTS), classifier.predict_proba(TEXTS))


def test_a_loaded_model_is_pickled_by_its_name(tiny: str) -> None:
    classifier = GPTClassifier(LanguageModel.load(tiny)).fit(TEXTS, LABELS)
    restored = pickle.loads(pickle.dumps(classifier))
    assert restored.model == tiny
    assert restored.predict(TEXTS).tolist() == LABELS


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_grid_search_and_cross_validation_in_several_jobs(classifier: GPTClassifier, backend: str) -> None:
    assert cross_val_score(classifier, TEXTS, LABELS, cv=3).mean() > 0.8
    search = GridSearchCV(classifier, {"penalty": [0.1, 1.0], "layer": [1, 2]}, cv=2, n_jobs=2)
    with parallel_backend(backend):
        search.fit(TEXTS, LABELS)
    assert set(search.best_params_) == {"penalty", "layer"}
    assert search.predict(TEXTS).tolist() == LABELS


def test_features_in_a_pipeline(tiny: str) -> None:
    features = GPTFeatures(tiny, poolings=["mean"])
    assert features.fit(TEXTS) is features
    assert features.transform(TEXTS).shape == (24, 32)
    assert len(features.get_feature_names_out()) == 32
    both = make_pipeline(GPTFeatures(tiny), StandardScaler(), LogisticRegression())
    assert both.fit(TEXTS, LABELS).score(TEXTS, LABELS) == 1
    assert clone(both).get_params()["gptfeatures__model"] == tiny


def test_pairs_of_texts(classifier: GPTClassifier) -> None:
    pairs = [("the rain", "the fog"), ("the oven", "the soup")] * 4
    classifier.fit(pairs, ["weather", "kitchen"] * 4)
    assert classifier.predict(pairs[:2]).tolist() == ["weather", "kitchen"]
    swapped = classifier.predict_proba([("the fog", "the rain")])
    assert not np.allclose(swapped, classifier.predict_proba(pairs[:1]))


def test_each_text_is_read_once(classifier: GPTClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    features = integration.read_features

    def counted(model: LanguageModel, texts: Any, wanted: Any) -> Any:
        read.append(len(texts))
        return features(model, texts, wanted)

    monkeypatch.setattr(integration, "_MEMORY", integration.FeatureMemory())
    monkeypatch.setattr(integration, "read_features", counted)
    cross_val_score(classifier, TEXTS, LABELS, cv=4)
    assert sum(read) == len(set(TEXTS))


def test_balanced_weights_count_rare_labels_more(tiny: str) -> None:
    texts, labels = TEXTS[:14] + TEXTS[1:2], ["a"] * 14 + ["b"]
    plain, balanced = (
        GPTClassifier(tiny, penalty=30.0, class_weight=weight).fit(texts, labels).predict_proba(TEXTS[1:2])[0, 1]
        for weight in (None, "balanced")
    )
    assert balanced > plain


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        ("one text", ["a"], "put it in a list"),
        ([], [], "There are no texts"),
        (3, ["a"], "not int"),
        (["a", 2], ["a", "b"], "Text 2 is 2"),
        (["a", " "], ["a", "b"], "Text 2 is ' '"),
        ([["a", "b", "c"]], ["a"], "Text 1 is"),
        (["a", "b"], ["a"], "There are 2 texts and labels of shape"),
        (["a", "b"], ["a", "a"], "there have to be two"),
        (np.ones((2, 3)), ["a", "b"], "Text 1 is"),
    ],
)
def test_wrong_input_is_one_sentence(classifier: GPTClassifier, texts: Any, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        classifier.fit(texts, labels)
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize("options", [{"penalty": 0}, {"penalty": "x"}, {"layer": 3}, {"layer": "x"}, {"poolings": []}])
def test_wrong_parameters_are_refused_by_fit(tiny: str, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        GPTClassifier(tiny, **options).fit(TEXTS, LABELS)


def test_nothing_is_predicted_before_fit(classifier: GPTClassifier, tiny: str) -> None:
    for call in (
        classifier.predict,
        classifier.predict_proba,
        classifier.decision_function,
        GPTFeatures(tiny).transform,
    ):
        with pytest.raises(NotFittedError):
            call(TEXTS)
    with pytest.raises(GPTAppsError, match="no model"):
        GPTClassifier("no-such-model").fit(TEXTS, LABELS)


both = pytest.mark.parametrize("estimator", [GPTClassifier(), GPTFeatures()], ids=lambda one: type(one).__name__)


@both
@pytest.mark.parametrize("name", CHECKS)
def test_the_checks_that_need_no_data_pass(estimator: Any, name: str) -> None:
    getattr(estimator_checks, name)(type(estimator).__name__, estimator)


@both
@pytest.mark.filterwarnings("ignore:Can't test estimator")
def test_check_estimator_itself_skips_estimators_of_texts(estimator: Any) -> None:
    results = estimator_checks.check_estimator(estimator, on_skip=None, on_fail=None)
    assert [(result["check_name"], result["status"]) for result in results] == [("check_estimator_cloneable", "passed")]
