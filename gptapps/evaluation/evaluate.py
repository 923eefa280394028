"""``evaluate(task, data, model)``: a task's metrics on data, each with its interval."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from typing_extensions import Unpack

from gptapps.decoding.language_model import LanguageModel
from gptapps.evaluation.plan import Plan
from gptapps.evaluation.preparations import Preparation
from gptapps.evaluation.results import EvaluationReport
from gptapps.evaluation.run import Run
from gptapps.evaluation.selection import Sampling
from gptapps.pipelines.factory import RuntimeOptions
from gptapps.pipelines.options import Normalize, WritingOptions


class EvaluationOptions(RuntimeOptions, WritingOptions, total=False):
    """Options of the pipeline that is evaluated: what ``pipeline(...)`` takes, and those of its calls.

    Keys:
        seed: of the bootstrap, of the rows and shots that are drawn, and of sampled text; 0.
        labels: of classification, to choose from.
        choices, normalize: of multiple choice: what rows without choices have to choose from, and what a choice's
            log-likelihood is divided by.
        max_words: of a summary.
        source, target: languages of a translation.
    """

    labels: Sequence[str]
    choices: Sequence[str]
    normalize: Normalize
    max_words: int
    source: str
    target: str


def evaluate(
    task: str,
    data: str | Path,
    model: str | os.PathLike[str] | LanguageModel | None = None,
    *,
    shots: int | Sequence[Mapping[str, str]] | None = None,
    shots_data: str | Path | None = None,
    limit: int | None = None,
    sampling: Sampling = "first",
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, str] | None = None,
    label_names: Mapping[str, str] | None = None,
    prepare: Preparation | None = None,
    metrics: Sequence[str] | None = None,
    baselines: Sequence[str] | None = None,
    text_language: str | None = None,
    output: str | Path | None = None,
    **options: Unpack[EvaluationOptions],
) -> EvaluationReport:
    """Evaluate a task on data and return its scores, with a baseline's beside them.

    Each finished example is on the disk at once, whatever order they are done in. The same call goes on where an
    earlier one stopped, whatever the batch size, and gives the same numbers.

    Args:
        task: a task's name or alias, or the path of a definition of one's own.
        data: a .jsonl, .csv, .tsv or .parquet file, or a hub data set, ``"hub:org/name#config:split"``. Its columns
            are named like the fields of the task's example, unless ``columns`` says otherwise.
        model: a packaged model's name, a directory, a GGUF file, a hub id, a trained folder, or a loaded LanguageModel.
            By default the default model.
        shots: worked examples in the prompt: themselves, or how many to take from data. By default the task's own,
            where the prompt is plain text and no chat; 0 shows none.
        shots_data: data to draw them from by the seed. By default the first rows of ``data`` are taken, which are then
            not evaluated.
        limit: the most examples to evaluate; all by default.
        sampling: ``"first"`` takes the first ones, ``"random"`` draws them by the seed.
        columns: field -> column, such as ``{"text": "sentence", "label": "target"}``.
        where: column -> value; only rows that have it are taken.
        label_names: label in the data -> label that the model sees, such as ``{"0": "negative", "1": "positive"}``.
            Without it and without ``labels``, the task's labels are taken, or else those of the data.
        prepare: ``"last_word"`` scores a text's last word behind the rest; ``"skip_empty"`` leaves out rows
            without text; ``"articles"`` joins the lines of each article, as WikiText has them on the hub.
        metrics: registered metrics instead of the task's own.
        baselines: what stands beside the model's numbers instead of the family's baselines; ``()`` for nothing.
        text_language: language tag of the gold, by which metrics split text. By default the target language, or what
            the rows say, or else Chinese or English, whichever the gold looks like.
        output: the run's folder. By default one below ``runs/`` in the working directory, named after task, data, model
            and a checksum of all that decides the numbers.
        options: see :class:`EvaluationOptions`.

    Returns:
        The scores; ``print(report.table)`` shows them.

    Raises:
        OptionError: an option makes no sense, or ``output`` holds a run that differs; says in what.
        DataError: the data can't be read, or a row has no gold; names file and line.
        ModelError: the model can't be found, fetched, read or used for the task.
        ResourceError: the folder can't be written, or another process works on it.

    Example:
        >>> report = evaluate("sentiment", "reviews.csv", "my-head", columns={"text": "review"})      # doctest: +SKIP
        >>> print(report.table)                                                                      # doctest: +SKIP
    """
    given = {"model": model, **{name: value for name, value in options.items() if name != "seed"}}
    plan = Plan(
        task=task,
        data=data,
        shots=shots,
        shots_data=shots_data,
        limit=limit,
        sampling=sampling,
        seed=options.get("seed", 0),
        columns=columns,
        where=where,
        label_names=label_names,
        prepare=prepare,
        metrics=metrics,
        baselines=baselines,
        text_language=text_language,
        output=None if output is None else Path(output),
        options={name: value for name, value in given.items() if value is not None},
    )
    with Run(plan) as run:
        for _ in run.remaining():
            pass
        return run.report()
