"""From rows of data to a task's examples, and from its errors back to the row."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from gptapps.datasets import Row, chosen_fields
from gptapps.errors import CapabilityError, DataError

T = TypeVar("T")


def examples_of(rows: Iterable[Row], task: Any, fields: Mapping[str, str], places: deque[str]) -> Iterator[Any]:
    """Yield a task's example for each row.

    Args:
        rows: inputs; the field ``text`` of a plain text becomes the one field of the example that is missing, or
            else its context.
        task: the pipeline.
        fields: fields given as options, the same for every row.
        places: gets the place of each row, for :func:`with_places`.

    Raises:
        DataError: a row that is no example of the task.
    """
    known = task.example_type.model_fields
    required = tuple(name for name, field in known.items() if field.is_required())
    for row in rows:
        places.append(row.where)
        given = {*row.fields, *fields}
        missing = [name for name in required if name not in given] or [
            name for name in ("context",) if name in known and name not in given
        ]
        if "text" in row.fields and "text" not in known and len(missing) == 1:
            row = Row({**row.fields, missing[0]: row.fields["text"]}, row.where)
        elif not missing and set(row.fields) == {"text"} and "text" not in known:
            raise DataError(
                f"{row.where} is a text, and no field is left for it beside {', '.join(fields) or 'the others'}: give "
                f"rows with the columns {', '.join(required)}, or leave an option out."
            )
        row = Row({**row.fields, **fields}, row.where)
        yield task.as_example(chosen_fields(row, tuple(known), required))


def with_places(outputs: Iterable[T], places: deque[str]) -> Iterator[T]:
    """Pass outputs on; the error of an input gets to say which.

    Outputs come in order and an input's error behind those of all inputs before it, so it belongs to the first
    place that had no output.

    Args:
        outputs: of a pipeline.
        places: where its inputs came from, filled while they are read.

    Raises:
        GPTAppsError: what the pipeline raised, with the place in front.
    """
    try:
        for output in outputs:
            places.popleft()
            yield output
    except (DataError, CapabilityError) as error:
        if not places or str(error).startswith(places[0]):
            raise
        raise type(error)(f"{places[0]}: {error}") from None
