"""A folder that was written is loaded again and has to predict what the trained model predicts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import CheckpointError
from gptapps.outputs import Output
from gptapps.pipelines.base import Pipeline
from gptapps.training.measuring import trained_pipeline

_TOLERANCE = 1e-4  # of scores, in absolute terms: the same numbers in the same batches, but for threads


def require_same_predictions(
    trained: Pipeline[Any, Any], folder: str, examples: Sequence[Any], load: Mapping[str, Any]
) -> None:
    """Load a folder and compare its outputs with those of the trained model in memory.

    Args:
        trained: the pipeline in memory.
        folder: that was written.
        examples: to predict.
        load: device, type and so on, as the base was loaded.

    Raises:
        CheckpointError: an output differs, or the folder can't be loaded.
    """
    model = LanguageModel.load(folder, **load)
    if model.trained is None:
        raise CheckpointError(f"{folder} doesn't say what was trained: the training can't be kept.")
    restored = trained_pipeline(model.trained.definition, model, trained.setup.options or {}, trained.setup)
    require_same(trained.run(examples, {}), restored.run(examples, {}))


def require_same(before: Iterable[Output], after: Iterable[Output]) -> None:
    """Compare outputs, one by one.

    Raises:
        CheckpointError: two differ; says in what.
    """
    for number, (one, other) in enumerate(zip(before, after, strict=True), 1):
        difference = _difference(one.model_dump(), other.model_dump())
        if difference is not None:
            raise CheckpointError(
                f"The trained model was written and loaded again, and its prediction for example {number} isn't the "
                f"same ({difference}): nothing was kept, so train again, and report it if it comes back."
            )


def _difference(one: Any, other: Any, where: str = "") -> str | None:
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        found = (_difference(one[key], other[key], f"{where}.{key}" if where else str(key)) for key in one)
        return next((difference for difference in found if difference is not None), None)
    if isinstance(one, float) and isinstance(other, float):
        same = math.isclose(one, other, abs_tol=_TOLERANCE, rel_tol=_TOLERANCE) or (one != one and other != other)
        return None if same else f"{where} was {one:.6g} and is {other:.6g}"
    return None if one == other else f"{where} was {one!r} and is {other!r}"
