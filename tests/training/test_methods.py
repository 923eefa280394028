"""Which method goes with which task, as the documentation says it."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from gptapps.errors import OptionError
from gptapps.task_catalog import resolve_task, tasks
from gptapps.training.methods import MATRIX, method_for, methods_of

DOCS = Path(__file__).resolve().parents[2] / "docs" / "finetuning.md"
TASKS = [definition.id for definition in tasks()]


def documented() -> dict[str, set[str]]:
    """Return the methods of each task that the table in the documentation marks with a yes."""
    _, _, behind = DOCS.read_text(encoding="utf-8").partition("## What goes with what")
    header, *lines = [line for line in behind.partition("##")[0].splitlines() if line.startswith("| ")]
    methods = re.findall(r"`(\w+)`", header)
    found: dict[str, set[str]] = {}
    for line in lines:
        what, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == len(methods):
            able = {method for method, cell in zip(methods, cells, strict=True) if cell == "yes"}
            found |= dict.fromkeys(re.findall(r"`(\w+)`", what), able)
    return found


def test_the_table_in_the_documentation_is_true() -> None:
    assert documented() == {task: set(methods_of(resolve_task(task))) for task in TASKS}


@pytest.mark.parametrize(("method", "task"), list(product(MATRIX, TASKS)))
def test_every_other_pair_is_refused_in_a_sentence_that_names_those_that_go(method: str, task: str) -> None:
    definition = resolve_task(task)
    able = methods_of(definition)
    if method in able:
        assert method_for(method, definition) is not None
        return
    with pytest.raises(OptionError, match=f"The method '{method}' doesn't go with the task '{task}'") as error:
        method_for(method, definition)
    assert str(error.value).endswith("use method=" + " or ".join(map(repr, able)) + ".")


def test_gradients_go_with_every_task() -> None:
    for task in TASKS:
        assert {"lora", "full", "prompt"} <= set(methods_of(resolve_task(task)))


def test_the_task_of_a_plug_in_that_no_method_knows_is_refused() -> None:
    definition = resolve_task("classify").model_copy(update={"pipeline": "rating"})
    with pytest.raises(OptionError, match="which is rating: no method learns it"):
        method_for("lora", definition)
