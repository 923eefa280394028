"""The choice that wins by its length, as lm-evaluation-harness normalizes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gptapps.metrics.choices import AccuracyNorm, accuracy_norm

LIKELIHOODS = st.dictionaries(
    st.text("ab水é ", min_size=1, max_size=12), st.floats(-100, -0.01), min_size=2, max_size=6
)


@given(LIKELIHOODS)
def test_the_chosen_one_is_that_of_the_harness(likelihoods: dict[str, float]) -> None:
    choices = list(likelihoods)
    lengths = np.array([float(len(choice)) for choice in choices])
    expected = choices[int(np.argmax(np.array([likelihoods[choice] for choice in choices]) / lengths))]
    assert AccuracyNorm().chosen(likelihoods) == expected


def test_a_long_choice_wins_over_a_short_one() -> None:
    likelihoods = {"to": -2.0, "towards": -3.5}
    assert accuracy_norm.chosen(likelihoods) == "towards"
    assert accuracy_norm(["towards", "to"], ["towards", "towards"]).value == 0.5
    assert accuracy_norm.chosen({}) is None
