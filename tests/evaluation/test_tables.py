"""Tables of plain text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gptapps.evaluation.tables import aligned, score_table
from gptapps.metrics.score import Score


def score(name: str, value: float, low: float | None = None, high: float | None = None) -> Score:
    return Score(name, value, low, high, 8, "", True)


def test_a_table_has_a_line_a_metric_and_the_baselines_beside() -> None:
    rows = [
        (
            "sst2",
            [score("accuracy", 0.75, 0.5, 1.0), score("macro_f1", 0.7)],
            {"majority_label": [score("accuracy", 0.5)]},
        ),
        ("wmt", [score("bleu", 23.456, 20.0, 26.0)], {}),
    ]
    assert score_table(rows, "tiny").split("\n") == [
        "data  metric    n  tiny                  baseline",
        "sst2  accuracy  8  0.750 [0.500, 1.000]  0.500 majority label",
        "      macro_f1  8  0.700",
        "wmt   bleu      8  23.46 [20.00, 26.00]",
    ]


@given(st.lists(st.lists(st.text("ab好，é", max_size=5), min_size=2, max_size=2), min_size=1, max_size=4))
def test_columns_begin_at_one_place(lines: list[list[str]]) -> None:
    def width(text: str) -> int:
        return sum(2 if character in "好，" else 1 for character in text)

    drawn = aligned(lines).split("\n")
    starts = {width(line[: len(line) - len(cells[1])]) for line, cells in zip(drawn, lines, strict=True) if cells[1]}
    assert len(starts) <= 1
