"""``finetune(task, train)``: a better model than the prompt gave, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from typing_extensions import Unpack

from gptapps.evaluation.selection import Sampling
from gptapps.pipelines.factory import SetupOptions
from gptapps.pipelines.options import Overflow
from gptapps.training.gradient_options import LoraOptions, PromptOptions
from gptapps.training.head_method import HeadOptions
from gptapps.training.plan import TrainingPlan
from gptapps.training.report import FinetuneReport
from gptapps.training.run import train as train_plan


class FinetuneOptions(SetupOptions, HeadOptions, LoraOptions, PromptOptions, total=False):
    """Options of the model, of the method, and of the pipeline's calls.

    Keys:
        language: of the prompt.
        overflow: what happens to inputs longer than the model holds.
        labels: of classification, to choose from; by default those of the data.
        choices: of multiple choice, where rows bring none.
        source, target: languages of a translation.
        max_words: of a summary.
        max_new_tokens: the most that is written, on validation examples as well as later.
    """

    language: str
    overflow: Overflow
    labels: Sequence[str]
    choices: Sequence[str]
    source: str
    target: str
    max_words: int
    max_new_tokens: int


def finetune(
    task: str,
    train: str | Path,
    *,
    output: str | Path,
    validation: str | Path | float | None = 0.1,
    method: str = "head",
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, str] | None = None,
    label_names: Mapping[str, str] | None = None,
    limit: int | None = None,
    sampling: Sampling = "first",
    folds: int | None = None,
    per_label: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    augment: Sequence[str] = (),
    copies: int = 1,
    translator: str | None = None,
    **options: Unpack[FinetuneOptions],
) -> FinetuneReport:
    """Train a model for a task on data of one's own.

    The data is examined before a model is loaded. What is done is kept beside the output, in ``OUTPUT.work``, until the
    model's folder stands: the same call goes on where an earlier one stopped and gives the same weights.

    Args:
        task: a task's name or alias, or the path of a definition of one's own.
        train: a .jsonl, .csv, .tsv or .parquet file, or a hub data set, ``"hub:org/name#config:split"``.
        output: folder of the trained model; ``pipeline(task, model=output)`` serves it. It is there complete or not at
            all, and only if it predicts, loaded again, what the trained model predicts.
        validation: other data to measure it on; or a share of ``train`` to set aside; None for neither.
        method: ``"head"`` learns a head on the frozen model; docs/finetuning.md says what goes with what.
        columns, where, label_names: how rows become examples, as :func:`gptapps.evaluate` has them.
        limit: the most rows of ``train``.
        sampling: whether those are the ``"first"`` or drawn at ``"random"``.
        folds: train and measure on so many folds as well, which gives every metric an interval over folds. The head
            that is kept then learns from all of ``train``; the other methods keep the share aside by which they stop.
        per_label: learn from so many examples of each label only.
        seeds: train with so many seeds, each with a draw of its own where ``per_label`` is given, and report mean and
            spread; the first seed's model is kept.
        seed: of all that is drawn.
        augment: ``"word_dropout"``, ``"word_swap"``, ``"back_translation"``: changed copies of the examples to learn
            from.
        copies: of each example by each of these ways.
        translator: the model that back-translation translates with.
        options: see :class:`FinetuneOptions`; those of another method are refused.

    Returns:
        The numbers and the folder; ``print(report.table)`` shows them.

    Raises:
        OptionError: an option makes no sense, or ``output`` holds another training; says in what it differs.
        DataError: the data has faults that have to be mended first; names file, row, column and remedy.
        ModelError: the model can't be found, fetched or read; or the folder doesn't predict the same.
        ResourceError: the disk can't be written, or another process trains in the same folder.

    Example:
        >>> report = finetune("sentiment", "reviews.csv", output="my-head")          # doctest: +SKIP
        >>> print(report.table)                                                      # doctest: +SKIP
        >>> pipeline("sentiment", model="my-head")("What a day!").label              # doctest: +SKIP
        'positive'
    """
    return train_plan(
        TrainingPlan(
            task=task,
            train=train,
            output=Path(output),
            validation=validation,
            method=method,
            columns=columns,
            where=where,
            label_names=label_names,
            limit=limit,
            sampling=sampling,
            folds=folds,
            per_label=per_label,
            seeds=seeds,
            seed=seed,
            augment=tuple(augment),
            copies=copies,
            translator=translator,
            options={name: value for name, value in options.items() if value is not None},
        )
    )
