"""What every task promises, built in or someone's own: :func:`check_task` tries a pipeline on all of it.

    from task_checks import check_task

    check_task(definition, pipeline("letters.toml", model="my-model"), rows)

A check raises AssertionError where a promise isn't kept. The checks need no good model: a tiny random one does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from gptapps.errors import DataError, GPTAppsError, InputTooLongError, OptionError
from gptapps.outputs import Answer, Output
from gptapps.pipelines.base import Pipeline
from gptapps.task_definition import PromptTexts, TaskDefinition

Row = Mapping[str, Any]
AnyPipeline = Any  # calls differ from task to task

TOLERANCE = 1e-4  # the design's for log-likelihoods, of which every score is made
LOOK_AHEAD = 8  # batches that may be taken ahead of what was yielded
THREADS = 8


def sample_rows(definition: TaskDefinition) -> list[Row]:
    """Return the rows of the ``sample.jsonl`` beside a definition."""
    sample = Path(definition.origin).with_name("sample.jsonl")
    return [json.loads(line) for line in sample.read_text(encoding="utf-8").splitlines()]


def check_task(definition: TaskDefinition, pipeline: AnyPipeline, rows: Sequence[Row] | None = None) -> None:
    """Check everything that a task promises.

    Args:
        definition: the task.
        pipeline: the task on a model, with whatever options it needs; a model with a short context makes it quick.
        rows: three inputs or more; by default those of the sample beside the definition.
    """
    for check in CHECKS:
        check(pipeline, sample_rows(definition) if rows is None else rows)


def check_outputs(pipeline: AnyPipeline, rows: Sequence[Row]) -> None:
    """Every input gives an output of one type that counts tokens and survives JSON."""
    outputs = [pipeline(pipeline.example_type(**row)) for row in rows]
    assert len({type(output) for output in outputs}) == 1
    for output, row in zip(outputs, rows, strict=True):
        assert isinstance(output, Output)
        assert output.usage.input_tokens > 0
        assert output.usage.output_tokens > 0
        assert (output.usage.dropped_tokens, output.usage.chunks) == (0, 1)
        assert type(output).model_validate_json(output.model_dump_json()) == output
        if isinstance(output, Answer):
            assert output.text
            assert row["context"][output.start : output.end] == output.text


def check_one_and_many(pipeline: AnyPipeline, rows: Sequence[Row]) -> None:
    """One input gives one output, several give a list in order, whatever holds them; none give none."""
    alone = [pipeline(row) for row in rows]
    examples = [pipeline.example_type(**row) for row in rows]
    for many in (list(rows), tuple(examples), iter(rows)):
        outputs = pipeline(many)
        assert isinstance(outputs, list)
        assert_same(outputs, alone)
    assert_same(pipeline(list(reversed(rows))), alone[::-1])
    assert_same(pipeline([rows[0]]), alone[:1])
    assert pipeline([]) == []
    assert list(pipeline.stream([])) == []


def check_batches(pipeline: AnyPipeline, rows: Sequence[Row]) -> None:
    """What an input gives does not depend on what it was worked on with."""
    alone = [variant(pipeline, batch_size=1)(row) for row in rows]
    for size in (2, 3, len(rows)):
        assert_same(variant(pipeline, batch_size=size)(list(rows)), alone)


def check_stream(pipeline: AnyPipeline, rows: Sequence[Row]) -> None:
    """A stream takes nothing before it is asked, little ahead, and yields in order."""
    alone = [pipeline(row) for row in rows]
    taken = 0

    def endless() -> Iterator[Row]:
        nonlocal taken
        for row in cycle(rows):
            taken += 1
            yield row

    stream = variant(pipeline, batch_size=2).stream(endless())
    assert taken == 0
    for yielded, expected in enumerate([*alone, *alone], 1):
        assert_same([next(stream)], [expected])
        assert taken <= yielded + 2 * LOOK_AHEAD


def check_unordered(pipeline: AnyPipeline, rows: Sequence[Row]) -> None:
    """Outputs that come as they are done are those that come in order, each with its input's number."""
    alone = [pipeline(row) for row in rows]
    for size in (1, 2, len(rows)):
        found = list(variant(pipeline, batch_size=size).run_unordered(iter(rows), {}))
        assert sorted(number for number, _ in found) == list(range(len(rows)))
        assert_same([output for _, output in sorted(found, key=lambda entry: entry[0])], alone)
        unordered = variant(pipeline, batch_size=size).run_unordered([*rows[:2], 42, rows[2]], {})
        assert {number for number, _ in islice(unordered, 2)} == {0, 1}
        refuses(lambda unordered=unordered: next(unordered), DataError)


def check_mistakes(pipeline: AnyPipeline, rows: Sequence[Row]) -> None:
    """A mistake of the caller's is one sentence."""
    row = rows[0]
    for field in pipeline.definition.family.central:
        for empty in ("", " \n"):
            refuses(lambda empty=empty, field=field: pipeline({**row, field: empty}), DataError)
        refuses(lambda field=field: pipeline({key: row[key] for key in row if key != field}), DataError, field)
        refuses(lambda field=field: pipeline({**row, field: 42}), DataError, field)
    for wrong in (42, b"bytes", [42], [row, None], object()):
        refuses(lambda wrong=wrong: pipeline(wrong), DataError)
    refuses(lambda: pipeline({**row, "txet": "x"}), DataError, "txet")
    refuses(lambda: pipeline(row, overflo="error"), OptionError, "Did you mean 'overflow'?")
    refuses(lambda: pipeline(row, overflow="sometimes"), OptionError, "overflow")
    refuses(lambda: variant(pipeline, batch_size=0), OptionError, "batch_size")
    refuses(lambda: variant(pipeline, options={"overflo": "error"}), OptionError, "Did you mean 'overflow'?")


def check_late_mistake(pipeline: AnyPipeline, rows: Sequence[Row]) -> None:
    """What stood before a mistake is not lost."""
    expected = [pipeline(row) for row in rows[:2]]
    for size in (1, 2, 8):
        stream = variant(pipeline, batch_size=size).stream([*rows[:2], 42, rows[2]])
        try:
            before = list(islice(stream, 2))
        except DataError as error:
            raise AssertionError(f"with batch_size={size} the mistake took what stood before it along") from error
        assert_same(before, expected)
        refuses(lambda stream=stream: next(stream), DataError)


def check_seeds(pipeline: AnyPipeline, rows: Sequence[Row]) -> None:
    """Where tokens are drawn, a seed gives the same whatever an input was worked on with, and another seed another."""
    if "seed" not in pipeline.options_type.__annotations__:
        return
    drawn = variant(pipeline, options={**(pipeline.setup.options or {}), "temperature": 1.0, "seed": 3})
    alone = [drawn(row) for row in rows]
    assert_same(drawn(list(rows)), alone)
    others = drawn(list(rows), seed=4)
    assert any(one.text != other.text for one, other in zip(others, alone, strict=True))


def check_threads(pipeline: AnyPipeline, rows: Sequence[Row]) -> None:
    """Threads that share a pipeline get what one alone gets."""
    alone = pipeline(list(rows))

    def work(first: int) -> list[Output]:
        outputs = pipeline([*rows[first:], *rows[:first]])
        return [*outputs[len(rows) - first :], *outputs[: len(rows) - first]]

    with ThreadPoolExecutor(THREADS) as threads:
        for outputs in threads.map(work, (number % len(rows) for number in range(THREADS))):
            assert_same(outputs, alone)


def check_overflow(pipeline: AnyPipeline, rows: Sequence[Row]) -> None:
    """An input that the model can't hold is refused, cut off or cut up as was asked, and never silently."""
    model, field = pipeline.model, pipeline.definition.family.central[-1]
    text = rows[0][field]
    while len(model.tokenizer.encode(text)) <= 1.5 * model.context_length:
        text = f"{text} {text}"
    long = {**rows[0], field: text}
    for mode in ("error", "truncate", "chunk"):
        if mode not in pipeline.overflows:
            refuses(lambda mode=mode: pipeline(long, overflow=mode), OptionError, *pipeline.overflows)
        elif mode == "error":
            refuses(lambda mode=mode: pipeline(long, overflow=mode), InputTooLongError, "tokens")
        else:
            usage = pipeline(long, overflow=mode).usage
            assert (usage.dropped_tokens > 0, usage.chunks > 1) == (mode == "truncate", mode == "chunk")
            assert usage.chunks > 1 or usage.input_tokens <= model.context_length
    by_default = pipeline.definition.defaults.overflow or pipeline.overflows[0]
    if by_default != "error":
        assert_same([pipeline(long)], [pipeline(long, overflow=by_default)])


def check_languages(pipeline: AnyPipeline, rows: Sequence[Row]) -> None:
    """Every language that the definition has prompts in can be asked for, and no other."""
    if "language" not in pipeline.options_type.__annotations__:
        refuses(lambda: pipeline(rows[0], language="en"), OptionError, "language")
        return
    row = {key: value for key, value in rows[0].items() if key != "language"}
    text = row[pipeline.definition.family.central[-1]]
    read = {}
    for language in pipeline.definition.languages:
        with recorded(pipeline) as texts:
            variant(pipeline)(row, language=language)  # one that has read nothing yet, and so reads all of it
        read[language] = "".join(texts)
        assert text in read[language]
    worded = {json.dumps(texts.model_dump(include={"user", "plain"})) for texts in pipeline.definition.prompts.values()}
    assert len(set(read.values())) == len(worded)
    refuses(lambda: pipeline(row, language="xx"), OptionError, "'xx'")


def check_prompts(pipeline: AnyPipeline, rows: Sequence[Row]) -> None:
    """A prompt of the caller's, or of a changed definition, is what the model reads; one it can't use is refused."""
    if "prompt" not in pipeline.options_type.__annotations__:
        for name, value in {"prompt": "{{ text }}!", "system": "Sir", "shots": ({"text": "Hi"},)}.items():
            refuses(lambda given={name: value}: variant(pipeline, options=given), OptionError, name)
        return
    row, central = rows[0], pipeline.definition.family.central
    template = "ZEBRA\n" + "\n".join(f"{{{{ {name} }}}}" for name in central) + "\nOKAPI"
    own = {"prompt": template, "system": "GIRAFFE"}
    for asked, options in ((pipeline, own), (variant(pipeline, options={**(pipeline.setup.options or {}), **own}), {})):
        with recorded(pipeline) as texts:
            asked(row, **options)
        assert all(word in "".join(texts) for word in ("ZEBRA", "OKAPI", "GIRAFFE"))
    with recorded(pipeline) as texts:
        pipeline(row)
    assert not any(word in "".join(texts) for word in ("ZEBRA", "OKAPI", "GIRAFFE"))
    prompts = {name: PromptTexts(user=template, plain=template) for name in pipeline.definition.languages}
    changed = pipeline.definition.model_copy(update={"prompts": prompts, "shots": ()})
    with recorded(pipeline) as texts:
        type(pipeline)(changed, pipeline.model, pipeline.setup)(row)
    assert all(word in "".join(texts) for word in ("ZEBRA", "OKAPI"))
    shot = next(iter(pipeline.definition.shots_in("en")), None)
    if "shots" in pipeline.options_type.__annotations__ and shot is not None:
        marked = {**shot, _shown_key(pipeline, row): "WALRUS"}
        for asked, options in (
            (pipeline, {"shots": [marked]}),
            (variant(pipeline, options={**(pipeline.setup.options or {}), "shots": [marked]}), {}),
        ):
            with recorded(pipeline) as texts:
                asked(row, language="en", **options)
            assert "WALRUS" in "".join(texts)
        with recorded(pipeline) as texts:
            pipeline(row)
        assert "WALRUS" not in "".join(texts)
    looping = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}" + template
    for wrong, hint in (
        ("{{ txet }}", "txet"),
        ("no variable", central[0]),
        ("{{ unclosed", "template"),
        (template.replace(" }}", " | nothing }}", 1), "nothing"),
        (template.replace("{{ ", "{{ " + "(" * 3000, 1), "deeply"),
        (looping, "shorten"),
    ):
        refuses(lambda wrong=wrong: pipeline(row, prompt=wrong), OptionError, hint)


CHECKS: tuple[Callable[[AnyPipeline, Sequence[Row]], None], ...] = (
    check_outputs,
    check_one_and_many,
    check_batches,
    check_stream,
    check_unordered,
    check_mistakes,
    check_late_mistake,
    check_seeds,
    check_threads,
    check_overflow,
    check_languages,
    check_prompts,
)


def _shown_key(pipeline: AnyPipeline, row: Row) -> str:
    """Return the key of a worked example whose text stands in the prompt as it is."""
    family = pipeline.definition.family
    return str(row["source"] if family.shots == "parallel" else family.central[-1])


def variant(pipeline: AnyPipeline, **changes: Any) -> AnyPipeline:
    """Return the same task on the same model, set up in another way."""
    return type(pipeline)(pipeline.definition, pipeline.model, replace(pipeline.setup, **changes))


def refuses(action: Callable[[], object], kind: type[GPTAppsError], *hints: str) -> None:
    """Insist that ``action`` raises ``kind`` with a sentence for a person that holds every hint."""
    with pytest.raises(kind) as caught:
        action()
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    for hint in hints:
        assert hint in sentence


def assert_same(ours: Iterable[Output], theirs: Iterable[Output]) -> None:
    """Insist on the same texts, labels and counts, and on scores that differ by rounding alone."""
    for one, other in zip(ours, theirs, strict=True):
        assert type(one) is type(other)
        assert _near(one.model_dump(), other.model_dump()), f"{one} is not {other}"


def _near(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return list(one) == list(other) and all(_near(one[key], other[key]) for key in one)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_near, one, other))
    return one == other


@contextmanager
def recorded(pipeline: Pipeline[Any, Any]) -> Iterator[list[str]]:
    """Collect the texts that the pipeline's model reads while the block runs."""
    texts: list[str] = []

    def record(embedding: object, positional: tuple[Any, ...]) -> None:
        texts.extend(pipeline.model.tokenizer.decode(ids, skip_special_tokens=False) for ids in positional[0].tolist())

    hook = pipeline.model.backbone.token_embedding.register_forward_pre_hook(record)
    try:
        yield texts
    finally:
        hook.remove()
