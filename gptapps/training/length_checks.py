"""What doesn't fit: inputs that are cut off, answers that are cut off with them, targets with no room at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gptapps.decoding.language_model import LanguageModel
from gptapps.evaluation.selection import Item
from gptapps.examples import ChoiceExample, Example, QuestionExample, ScoringExample
from gptapps.pipelines.base import Pipeline, Setup
from gptapps.pipelines.writing import DEFAULT_NEW_TOKENS
from gptapps.registry import PIPELINES
from gptapps.training.data import TrainingData
from gptapps.training.findings import Finding, Severity, place_of

_INPUTS = frozenset(("text", "text_pair", "question", "context"))
_SPARE = 64  # bytes that a prompt may have around its texts beyond what is measured, and a target in front and behind


def length_findings(data: TrainingData, model: LanguageModel, limit: int | None = None) -> Iterator[Finding]:
    """Yield what doesn't fit a model.

    Args:
        data: whose examples.
        model: its tokenizer and its context length are asked, not its weights.
        limit: the most tokens that prompt and target may have together; by default what the model holds.

    Raises:
        OptionError: the task has no prompt in an example's language.
    """
    lengths = _Lengths(data, model, min(limit or model.context_length, model.context_length))
    overflow = data.options.get("overflow")
    for items, learnt in ((data.train, True), (data.validation, False)):
        if limit is not None and items is (data.validation or data.train):
            yield from _refused(lengths, items)  # gradients take what is cut off; whoever predicts may not
        long: list[tuple[Item, int]] = []
        homeless, answerless = [], []
        for item in items:
            count = lengths.tokens(item.example, learnt)
            if count <= lengths.limit:
                continue
            if lengths.without_text(item.example, learnt) > lengths.limit:
                homeless.append(item)
                continue
            long.append((item, count))
            if overflow != "chunk" and lengths.answer_is_cut_off(item.example, count - lengths.limit):
                answerless.append(item)
        yield from _told(data, lengths.limit, homeless, answerless)
        if long:
            refused = limit is None and overflow == "error"
            yield _too_long(lengths.limit, long, refused=refused, in_pieces=overflow == "chunk")


def _refused(lengths: _Lengths, items: Sequence[Item]) -> Iterator[Finding]:
    """Yield what the trained model would refuse to predict, and so to be measured on."""
    if lengths.overflow != "error" or lengths.readable < 1:  # that there is no room at all is told elsewhere
        return
    counted = [(item, lengths.tokens(item.example, False, lengths.readable)) for item in items]
    if long := [(item, count) for item, count in counted if count > lengths.readable]:
        longest = max(count for _, count in long)
        what = f"the prompt has more than the {lengths.readable:,} tokens that the model reads, the longest {longest:,}"
        remedy = "shorten the text, choose an overflow, or lower max_new_tokens"
        yield _finding("fatal", "input_too_long", what, remedy, [item for item, _ in long], None)


def _told(data: TrainingData, limit: int, homeless: list[Item], answerless: list[Item]) -> Iterator[Finding]:
    columns = data.plan.columns or {}
    if homeless:
        gold = data.evaluator.gold_field or "text"
        what = f"prompt and target have more than {limit:,} tokens even without the text"
        remedy = "shorten the target, leave the row out, or allow more tokens"
        yield _finding("fatal", "target_too_long", what, remedy, homeless, columns.get(gold, gold))
    if answerless:
        what = f"the answer stands in the part of the context that is beyond {limit:,} tokens"
        remedy = "shorten the context around the answer, or allow more tokens"
        yield _finding("warning", "answer_cut_off", what, remedy, answerless, columns.get("context", "context"))


def _too_long(limit: int, long: Sequence[tuple[Item, int]], *, refused: bool, in_pieces: bool) -> Finding:
    items = [item for item, _ in long]
    what = f"prompt and target have more than {limit:,} tokens, the longest {max(count for _, count in long):,}"
    if refused:
        return _finding("fatal", "input_too_long", what, "shorten the text, or choose an overflow", items, None)
    if in_pieces and isinstance(items[0].example, QuestionExample | ScoringExample):
        remedy = "nothing is lost, but they are read in pieces: shorten the text, or allow more tokens"
    else:
        remedy = "shorten the text, or allow more tokens, for what is beyond is not learned from"
    return _finding("warning", "input_too_long", what, remedy, items, None)


class _Lengths:
    """Counts the tokens of examples, and encodes none whose bytes show that it fits."""

    def __init__(self, data: TrainingData, model: LanguageModel, limit: int) -> None:
        kind: type[Pipeline[Any, Any]] = PIPELINES.get(data.task.pipeline)
        names = kind.options_type.__annotations__
        options = {name: value for name, value in data.options.items() if name in names}
        self._pipeline = kind(data.task, model, Setup(options=options))
        self._data = data
        self._tokenizer = model.tokenizer
        self._frames: dict[str | None, int] = {}
        self.limit = limit
        defaults = self._pipeline.defaults
        self.overflow = defaults.get("overflow", kind.overflows[0])
        room = defaults.get("max_new_tokens", DEFAULT_NEW_TOKENS) if "max_new_tokens" in names else 0
        self.readable = model.context_length - room

    def tokens(self, example: Example, learnt: bool, most: int | None = None) -> int:
        """Return the tokens of the whole prompt with its target; 0 where their bytes show that they fit.

        Args:
            example: which.
            learnt: whether the target counts.
            most: tokens that fit; the limit by default.
        """
        target, fitting = self._target(example, learnt), self.limit if most is None else most
        spelled = sum(len(text.encode()) for text in (*_texts(example), target))
        if spelled + self._frame(example) + _SPARE <= fitting:  # a token has a byte at least
            return 0
        return self._count(self._prompt(example), target)

    def without_text(self, example: Example, learnt: bool) -> int:
        """Return the tokens of the prompt around no text, with the target."""
        return self._count(self._prompt(_emptied(example)), self._target(example, learnt))

    def answer_is_cut_off(self, example: Example, surplus: int) -> bool:
        """Return whether every answer of a question reaches into the last ``surplus`` tokens of the context."""
        if not isinstance(example, QuestionExample):
            return False
        offsets = self._tokenizer.offsets(example.context, special_tokens=False)
        kept = offsets[-surplus][0] if surplus <= len(offsets) else 0
        ends = [place + len(one) for one in example.answers if (place := example.context.find(one)) >= 0]
        return bool(ends) and min(ends) > kept

    def _frame(self, example: Example) -> int:
        """Return the most bytes that a prompt has around its texts."""
        if example.language not in self._frames:
            languages = [example.language] if example.language else self._data.task.languages
            bare = [_emptied(example).model_copy(update={"language": language}) for language in languages]
            self._frames[example.language] = max(len(self._prompt(one).encode()) for one in bare)
        return self._frames[example.language]

    def _prompt(self, example: Example) -> str:
        return self._data.evaluator.prompt(self._pipeline, example, self._data.options)

    def _target(self, example: Example, learnt: bool) -> str:
        if isinstance(example, ChoiceExample):
            return max(example.choices, key=len, default="")
        gold = self._data.evaluator.gold(example) if learnt else None
        return gold if isinstance(gold, str) else (gold or ("",))[0]

    def _count(self, prompt: str, target: str) -> int:
        spoken = self._tokenizer.encode(f" {target}", special_tokens=False) if target else ()
        end = bool(target and self._tokenizer.eos_ids)
        return len(self._tokenizer.encode(prompt)) + len(spoken) + end


def _finding(
    severity: Severity, kind: Any, what: str, remedy: str, items: Sequence[Item], column: str | None
) -> Finding:
    file, line = place_of(items[0].where)
    return Finding(severity, kind, what, remedy, file, line, column, len(items))


def _input_fields(example: Example) -> Iterator[str]:
    for name in type(example).model_fields.keys() & _INPUTS:
        if getattr(example, name):
            yield name


def _texts(example: Example) -> Iterator[str]:
    return (getattr(example, name) for name in _input_fields(example))


def _emptied(example: Example) -> Example:
    # A full stop and not nothing: a template may leave out what stands around an empty text.
    return example.model_copy(update=dict.fromkeys(_input_fields(example), "."))
