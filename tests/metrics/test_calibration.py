from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from gptapps.errors import DataError, OptionError
from gptapps.metrics import reliability_bins
from gptapps.metrics.classification import CalibrationError, calibration_error

confidences = st.lists(
    st.tuples(st.floats(0.5, 1.0) | st.sampled_from([0.5, 0.6, 0.8, 1.0]), st.booleans()), min_size=1
)


def two_labels(drawn: list[tuple[float, bool]]) -> tuple[list[dict[str, float]], list[str]]:
    """Predictions of "yes" with the drawn confidence, right where drawn so."""
    return [{"yes": p, "no": 1 - p} for p, _ in drawn], ["yes" if right else "no" for _, right in drawn]


@given(confidences, st.integers(1, 20))
def test_bins_are_those_of_scikit_learn_s_calibration_curve(drawn: list[tuple[float, bool]], bins: int) -> None:
    rows = [row for row in reliability_bins(*two_labels(drawn), bins=bins) if row.count]
    accuracy, confidence = calibration_curve(
        [right for _, right in drawn], [p for p, _ in drawn], n_bins=bins, pos_label=True
    )
    assert sum(row.count for row in rows) == len(drawn)
    np.testing.assert_allclose([row.confidence for row in rows], confidence, rtol=1e-14)
    np.testing.assert_allclose([row.accuracy for row in rows], accuracy, rtol=1e-14)


@given(confidences, st.integers(1, 20))
def test_the_calibration_error_is_the_weighted_gap_of_the_bins(drawn: list[tuple[float, bool]], bins: int) -> None:
    predictions, references = two_labels(drawn)
    gap = sum(
        row.count * abs(row.accuracy - row.confidence)
        for row in reliability_bins(predictions, references, bins)
        if row.accuracy is not None and row.confidence is not None
    )
    score = CalibrationError(bins=bins)(predictions, references, resamples=0)
    assert score.value == pytest.approx(gap / len(drawn), abs=1e-14)
    assert f"bins:{bins}" in score.signature


def test_bins_cover_0_to_1_and_show_empty_ones() -> None:
    rows = reliability_bins([{"a": 0.4, "b": 0.3, "c": 0.3}, {"a": 0.0, "b": 1.0, "c": 0.0}], ["c", "b"], 5)
    assert [(row.low, row.high) for row in rows] == [pytest.approx((i / 5, (i + 1) / 5), abs=1e-15) for i in range(5)]
    assert [(row.count, row.confidence, row.accuracy) for row in rows] == [
        (0, None, None),
        (1, 0.4, 0.0),
        (0, None, None),
        (0, None, None),
        (1, 1.0, 1.0),
    ]


def test_of_equally_likely_labels_the_first_is_the_prediction() -> None:
    (row,) = reliability_bins([{"b": 0.5, "a": 0.5}], ["b"], 1)
    assert row.accuracy == 1


def test_a_perfectly_calibrated_forecast_has_no_error() -> None:
    predictions = [{"rain": 0.75, "sun": 0.25}] * 4
    assert calibration_error(predictions, ["rain", "rain", "rain", "sun"]).value == 0
    assert calibration_error(predictions, ["sun"] * 4).value == 0.75


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        ("rain", r"^Prediction 2 is str, but this metric takes a mapping from labels to probabilities\.$"),
        ({"rain": 1.2, "sun": -0.2}, r"^Prediction 2 gives 'rain' the probability 1\.2: it has to lie"),
        ({"rain": float("nan"), "sun": 1.0}, "'rain' the probability nan"),
        ({"rain": 0.5, "sun": 0.4}, r"^The probabilities of prediction 2 sum to 0\.9: they have to sum to 1\.$"),
        ({"drain": 0.5, "sun": 0.5}, r"^Reference 2 is the unknown label 'rain'\. Did you mean 'drain'\?"),
        ({}, "prediction 2 sum to 0"),
    ],
)
def test_what_is_no_distribution_is_told_with_its_place(prediction: object, message: str) -> None:
    good = {"rain": 0.5, "sun": 0.5}
    with pytest.raises(DataError, match=message):
        reliability_bins([good, prediction], ["rain", "rain"])  # type: ignore[list-item]


def test_there_is_at_least_one_bin() -> None:
    with pytest.raises(OptionError, match="bins has to be at least 1"):
        CalibrationError(bins=0)
    with pytest.raises(OptionError, match="bins has to be at least 1"):
        reliability_bins([{"a": 1.0}], ["a"], 0)
