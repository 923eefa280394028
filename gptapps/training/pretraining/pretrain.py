"""``pretrain(data)``: a GPT from scratch on plain text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from typing_extensions import Unpack

from gptapps.training.pretraining.options import ObjectiveName, PretrainOptions
from gptapps.training.pretraining.plan import PretrainPlan
from gptapps.training.pretraining.report import PretrainReport
from gptapps.training.pretraining.run import train


def pretrain(
    data: str | Path | Sequence[str | Path],
    *,
    output: str | Path,
    size: str = "gpt-2-small",
    objective: ObjectiveName = "next-token",
    tokenizer: str | Path | None = None,
    validation: str | Path | float = 0.1,
    column: str = "text",
    limit: int | None = None,
    seed: int = 0,
    **options: Unpack[PretrainOptions],
) -> PretrainReport:
    """Train a GPT from scratch on plain text.

    What is done is kept beside the output, in ``OUTPUT.work``, until the model's folder stands: the same call goes on
    where an earlier one stopped and gives the same weights. At every evaluation sampled text is written to its folder
    ``samples``.

    Args:
        data: plain text files, each of them one text; or .jsonl, .csv, .tsv or .parquet files, or hub data sets
            (``"hub:org/name#config:split"``), with a text in each row.
        output: folder of the model in the Hugging Face layout, which transformers loads, and
            ``pipeline("generate", model=output)``. It is there complete or not at all.
        size: ``"gpt-1"``, ``"gpt-2-small"`` to ``"gpt-2-xl"``, ``"gpt-3-small"`` to ``"gpt-3-175b"``; the options
            ``layers``, ``heads``, ``channels`` and ``context`` change its numbers.
        objective: ``"next-token"``; or ``"masked"``, where 15 % of the tokens are hidden and learned from those on
            both sides. A model of masked text can't generate or score.
        tokenizer: of a packaged model, a folder, a GGUF file or a hub id; None trains byte-level BPE on the text.
        validation: other data to measure it on; or a share of ``data`` to set aside.
        column: of tables, that holds the text.
        limit: the most rows of ``data``.
        seed: of all that is drawn.
        options: see :class:`~gptapps.training.pretraining.options.PretrainOptions`.

    Returns:
        The numbers and the folder; ``print(report.table)`` shows them.

    Raises:
        OptionError: an option makes no sense, or ``output`` holds another training; says in what it differs.
        UnknownNameError: no such size.
        DataError: a file can't be read or holds no text.
        ModelError: the tokenizer can't be found, fetched or read; or the folder, loaded again, predicts otherwise.
        ResourceError: too little memory, a disk that can't be written, or another process trains in the same folder.

    Example:
        >>> report = pretrain("book.txt", output="my-gpt", layers=4, channels=256, context=128)   # doctest: +SKIP
        >>> pipeline("generate", model="my-gpt")("It was").text                                   # doctest: +SKIP
    """
    return train(
        PretrainPlan(
            data=(data,) if isinstance(data, str | Path) else tuple(data),
            output=Path(output),
            size=size,
            objective=objective,
            tokenizer=None if tokenizer is None else str(tokenizer),
            validation=validation,
            column=column,
            limit=limit,
            seed=seed,
            options={name: value for name, value in options.items() if value is not None},
        )
    )
