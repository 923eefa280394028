"""One command for each task, its options made from the pipeline's."""

from __future__ import annotations

import re
import types
import typing
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import click
from pydantic.fields import FieldInfo

from gptapps.cli.inputs import RowReader
from gptapps.cli.late_command import LateCommand
from gptapps.cli.progress import Progress
from gptapps.cli.rendering import as_json, as_text
from gptapps.datasets import read_rows
from gptapps.errors import OptionError
from gptapps.pipelines.rows import examples_of, with_places
from gptapps.registry import PIPELINES
from gptapps.task_definition import TaskDefinition

_FORMATS = ("text", "lines", "jsonl", "csv", "tsv")


class TaskCommand(LateCommand):
    """Runs one task over files."""

    def __init__(self, definition: TaskDefinition, *, name: str) -> None:
        super().__init__(
            definition,
            name=name,
            help=(
                f"{definition.summary}\n\nFILES are read in turn, - is standard input: .txt is one input, .jsonl, .csv "
                "and .tsv hold one a row."
            ),
        )

    def make_params(self) -> list[click.Parameter]:
        """Return the parameters: files, the pipeline's options, then those of every task."""
        kind = PIPELINES.get(self.definition.pipeline)
        fields = [name for name in _single_text_fields(kind) if name != "text"]
        return [
            click.Argument(["files"], nargs=-1, type=click.Path(path_type=Path), metavar="[FILES]..."),
            click.Option(["--text", "texts"], multiple=True, help="An input given here instead of a file."),
            *(click.Option([_flag(name), f"field_{name}"], help=_FIELD_HELP.get(name)) for name in fields),
            *call_options(kind.options_type),
            *(SHOT_OPTIONS if "shots" in kind.options_type.__annotations__ else ()),
            *SETUP_OPTIONS,
        ]

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the summary, and which columns a row has."""
        super().format_help_text(ctx, formatter)
        fields = PIPELINES.get(self.definition.pipeline).example_type.model_fields
        required = [name for name, field in fields.items() if field.is_required()]
        optional = [f"[{name}]" for name in fields if name not in required]
        with formatter.indentation():
            formatter.write_paragraph()
            formatter.write_text(
                f"Columns, of which those in brackets may be absent: {', '.join(required + optional)}."
            )

    def execute(
        self,
        show_progress: bool,
        *,
        files: Sequence[Path],
        texts: Sequence[str],
        format: Literal["text", "lines", "jsonl", "csv", "tsv"] | None,
        lines: bool,
        json: bool,
        shots: Path | None = None,
        no_shots: bool = False,
        **given: Any,
    ) -> None:
        """Read, run and write, one result as soon as it is there."""
        from gptapps.pipelines.factory import pipeline
        from gptapps.pipelines.trained import definition_for, pipeline_kind

        kind = PIPELINES.get(self.definition.pipeline)
        fields = {
            name.removeprefix("field_"): value
            for name, value in given.items()
            if name.startswith("field_") and value is not None
        }
        whole = all(name in fields for name, field in kind.example_type.model_fields.items() if field.is_required())
        reader = RowReader(tuple(files), tuple(texts), "lines" if lines else format, whole)
        reader.require_input(f"gptapps {self.name}")
        options = pipeline_options({name: value for name, value in given.items() if not name.startswith("field_")})
        options |= shots_given(shots, no_shots)
        definition = definition_for(self.task, options.get("model"))
        kind = pipeline_kind(definition)
        calls = {name: value for name, value in options.items() if name in kind.options_type.__annotations__}
        kind.check_call(definition, kind.merged_options(definition, calls))  # before a model is fetched
        with Progress(show_progress) as progress:
            task = pipeline(self.task, progress=progress.download, **options)
            places: deque[str] = deque()
            examples = examples_of(reader.rows(), task, fields, places)
            outputs = with_places(task.run(examples, {}), places)
            _write(progress.count(outputs), json=json, several=reader.several)


def pipeline_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the command line gave as options of ``pipeline(...)``; those that weren't given are left out."""
    options = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in given.items()
        if value not in (None, ())
    }
    for name in _SPLIT_AT_COMMAS:
        if len(texts := options.get(name, ())) == 1:
            options[name] = [text.strip() for text in re.split("[,\uff0c]", texts[0])]
    return options


def shots_given(file: Path | None, none: bool) -> dict[str, Any]:
    """Return the worked examples that the command line asks for as an option of ``pipeline(...)``.

    Raises:
        OptionError: both a file and none.
        DataError: the file can't be read.
    """
    if file is None:
        return {"shots": ()} if none else {}
    if none:
        raise OptionError("--shots and --no-shots contradict each other: give one of them.")
    return {"shots": [{name: str(value) for name, value in row.fields.items()} for row in read_rows(file)]}


def _write(outputs: Iterable[Any], *, json: bool, several: bool) -> None:
    for output in outputs:
        try:
            click.echo(as_json(output) if json else as_text(output, one_line=several))
        except UnicodeEncodeError as error:
            raise OptionError(
                f"The output's encoding, {error.encoding}, has no {error.object[error.start]!r}: set "
                "PYTHONIOENCODING=utf-8."
            ) from None


def _single_text_fields(kind: Any) -> Iterator[str]:
    """Name the example's fields that hold one text besides the gold answer, so that an option can give them."""
    for name, field in kind.example_type.model_fields.items():
        if name not in ("language", "label", "answer", "source", "target") and field.annotation in (str, str | None):
            yield name


_FIELD_HELP: Mapping[str, str] = {
    "question": "The question; the files are contexts then.",
    "context": "The text that comes before each input, or in which the answer stands.",
    "text_pair": "The second text of a pair.",
}


def call_options(kind: type) -> Iterator[click.Option]:
    """Yield a command-line option for each option of a pipeline's calls that a command line can give."""
    for name, annotation in typing.get_type_hints(kind, include_extras=True).items():
        type_, description = annotation, None
        if typing.get_origin(annotation) is Annotated:
            type_, *metadata = typing.get_args(annotation)
            description = next((item.description for item in metadata if isinstance(item, FieldInfo)), None)
        if typing.get_origin(type_) is Literal:
            yield click.Option([_flag(name)], type=click.Choice(typing.get_args(type_)), help=_sentence(description))
        elif type_ in (int, float, str):
            yield click.Option([_flag(name)], type=type_, help=_sentence(description))
        elif _is_text_list(type_):
            commas = ", separated by commas" if name in _SPLIT_AT_COMMAS else ""
            text = f"{_sentence(f'{description}{commas}')} May be given several times."
            yield click.Option([_flag(name)], multiple=True, help=text)


_SPLIT_AT_COMMAS = ("labels", "choices")


def _is_text_list(type_: Any) -> bool:
    return typing.get_origin(type_) in (Sequence, list, tuple, types.GenericAlias) and str in typing.get_args(type_)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _sentence(description: str | None) -> str | None:
    return description and description[0].upper() + description[1:] + "."


SHOT_OPTIONS: tuple[click.Option, ...] = (
    click.Option(
        ["--shots"],
        type=click.Path(path_type=Path),
        help="Worked examples to show instead of the task's, rows of a .jsonl, .csv or .tsv file.",
    ),
    click.Option(["--no-shots"], is_flag=True, help="Show no worked examples, in plain prompts neither."),
)
SETUP_OPTIONS: tuple[click.Option, ...] = (
    click.Option(["-m", "--model"], help="Packaged model, directory, GGUF file or hub id; see `gptapps models`."),
    click.Option(["--json"], is_flag=True, help="Write JSON lines with scores, offsets and token usage."),
    click.Option(["--format"], type=click.Choice(_FORMATS), help="How to read the files; by default by suffix."),
    click.Option(["--lines"], is_flag=True, help="Every line of a file is an input; short for --format lines."),
    click.Option(["--batch-size"], type=click.IntRange(min=1), help="Inputs that are worked on together."),
    click.Option(["--device"], help="cpu, cuda or cuda:N; by default the GPU where there is one."),
    click.Option(
        ["--dtype"], type=click.Choice(["float32", "bfloat16", "float16"]), help="Of weights and activations."
    ),
    click.Option(
        ["--low-memory"], is_flag=True, default=None, help="Keep matrices in the 8 or 16 bits that the files have."
    ),
    click.Option(["--threads"], type=click.IntRange(min=1), help="CPU threads."),
    click.Option(["--max-cache-bytes"], type=click.IntRange(min=1), help="Most memory for keys and values."),
    click.Option(["--revision"], help="Branch, tag or commit of a hub id."),
    click.Option(["--offline"], is_flag=True, default=None, help="Fetch nothing."),
)
