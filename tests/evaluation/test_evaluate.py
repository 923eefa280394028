"""An evaluation from the outside: scores, shots, resuming, refusals."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from scripted import ScriptedPipeline, scripted_model, write_rows
from tiny_language_model import write_tiny_model

from gptapps import evaluate
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import CapabilityError, DataError, OptionError, UnknownNameError
from gptapps.evaluation.evaluate import EvaluationOptions
from gptapps.evaluation.plan import Plan
from gptapps.evaluation.run import Run
from gptapps.examples import Example
from gptapps.metrics import confusion_matrix
from gptapps.model_store import DEFAULT_MODEL
from gptapps.pipelines import options as pipeline_options
from gptapps.pipelines.factory import SetupOptions
from gptapps.pipelines.generation import GenerationPipeline
from gptapps.registry import METRICS
from gptapps.task_catalog import resolve_task

SAMPLES = {
    "sentiment": {"language": "en"},
    "answer": {"language": "en"},
    "choose": {"language": "en"},
    "summarize": {"language": "zh"},
    "translate": {"source": "en", "target": "zh"},
    "score": {"language": "zh"},
}


def sample_of(task: str) -> Path:
    return Path(resolve_task(task).origin).with_name("sample.jsonl")


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "examples.jsonl").read_text("utf-8").split("\n")[:-1]]


@pytest.mark.parametrize(("task", "where"), SAMPLES.items(), ids=SAMPLES)
@pytest.mark.parametrize("style", ["chat", "base"])
def test_every_family_is_evaluated(
    task: str, where: Mapping[str, str], style: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model = request.getfixturevalue(f"tiny_{style}")
    limits = {} if task in ("sentiment", "choose", "score") else {"max_new_tokens": 8}
    report = evaluate(task, sample_of(task), model=model, where=where, **limits)
    lines = lines_of(report.folder)
    assert [score.name for score in report.scores] == list(resolve_task(task).metrics)
    assert report.counts["examples"] == len(lines) > 1
    assert report.folder.parent == Path("runs")
    for line in lines:
        assert set(line["scores"]) == set(resolve_task(task).metrics)
        assert line["usage"]["output_tokens"] > 0
    rows = {number: json.loads(text) for number, text in enumerate(sample_of(task).read_text("utf-8").splitlines())}
    for line in lines:
        for name in ("text", "question", "context"):
            assert task == "score" or rows[line["index"]].get(name, "") in line["prompt"]
    assert all(scores for scores in report.baselines.values())
    assert json.loads((report.folder / "report.json").read_text("utf-8")) == report.as_dict()


def test_the_scores_are_those_of_the_metrics_on_the_written_lines(task: str, rows: Path, model: LanguageModel) -> None:
    report = evaluate(task, rows, model=model, metrics=["macro_f1", "matthews", "brier"], seed=3)
    lines = lines_of(report.folder)
    golds = [line["gold"] for line in lines]
    labels = [line["prediction"]["label"] for line in lines]
    probabilities = [line["prediction"]["scores"] for line in lines]
    assert report.score("macro_f1") == METRICS.get("macro_f1")(labels, golds, seed=3)
    assert report.score("matthews") == METRICS.get("matthews")(labels, golds, seed=3)
    assert report.score("brier") == METRICS.get("brier")(probabilities, golds, seed=3)
    mean = sum(line["scores"]["brier"] for line in lines) / len(lines)
    assert report.score("brier").value == pytest.approx(mean)
    with pytest.raises(UnknownNameError, match="Did you mean 'brier'"):
        report.score("breir")


def test_the_report_counts_labels_against_labels(task: str, rows: Path, model: LanguageModel) -> None:
    report = evaluate(task, rows, model=model, seed=3)
    lines = lines_of(report.folder)
    labels = json.loads((report.folder / "manifest.json").read_text("utf-8"))["options"].get("labels")
    expected = confusion_matrix(
        [line["prediction"]["label"] for line in lines], [line["gold"] for line in lines], labels, seed=3
    )
    assert report.confusion_matrix is not None
    assert report.confusion_matrix.as_dict() == expected.as_dict()
    assert json.loads((report.folder / "report.json").read_text("utf-8"))["confusion_matrix"] == expected.as_dict()


def test_the_manifest_holds_the_wording_of_the_prompts(tmp_path: Path, tiny_chat: LanguageModel) -> None:
    report = evaluate("sentiment", sample_of("sentiment"), model=tiny_chat, system="Be brief.", limit=1)
    prompt = json.loads((report.folder / "manifest.json").read_text("utf-8"))["prompt"]
    definition = resolve_task("sentiment")
    assert prompt["system"] == "Be brief."
    assert prompt["prompts"]["prompts"]["en"]["user"] == definition.prompt_texts("en").user
    assert prompt["prompts"]["prompts"]["zh"]["plain"] == definition.prompt_texts("zh").plain


def test_a_line_holds_prompt_prediction_gold_and_scores(task: str, rows: Path, model: LanguageModel) -> None:
    report = evaluate(task, rows, model=model, limit=1)
    (line,) = lines_of(report.folder)
    row = json.loads(rows.read_text("utf-8").split("\n")[0])
    assert (line["index"], line["id"], line["gold"]) == (0, "row-0", row["label"])
    assert line["prompt"] == f"Text: {row['text']}"
    assert set(line["prediction"]) == {"label", "score", "scores"}
    assert line["scores"]["accuracy"] == (line["prediction"]["label"] == row["label"])


def test_a_run_that_was_stopped_goes_on_whatever_the_batch_size(
    task: str, rows: Path, model: LanguageModel, scripted: type[ScriptedPipeline]
) -> None:
    whole = evaluate(task, rows, model=model, output="whole")
    scripted.labelled = ()
    with Run(Plan(task=task, data=rows, output=Path("cut"), options={"model": model, "batch_size": 3})) as run:
        for _ in zip(range(11), run.remaining(), strict=False):
            pass
        assert run.done == 11
    scripted.labelled = ()
    resumed = evaluate(task, rows, model=model, output="cut", batch_size=7)
    assert len(scripted.labelled) == 30 - 11
    assert resumed.as_dict() == whole.as_dict()
    assert lines_of(resumed.folder) == lines_of(whole.folder)
    scripted.labelled = ()
    assert evaluate(task, rows, model=model, output="cut").as_dict() == whole.as_dict()
    assert scripted.labelled == ()


@pytest.mark.parametrize("task_name", ["sentiment", "answer"])
def test_a_real_model_gives_the_same_after_a_stop(task_name: str, tiny_chat: LanguageModel) -> None:
    def plan(output: str, batch_size: int) -> Plan:
        options = {"model": tiny_chat, "batch_size": batch_size}
        if task_name == "answer":
            options["max_new_tokens"] = 6
        return Plan(
            task=task_name, data=sample_of(task_name), where={"language": "en"}, output=Path(output), options=options
        )

    with Run(plan("whole", 4)) as run:
        whole = list(run.remaining())
    with Run(plan("cut", 1)) as run:
        next(run.remaining())
    with Run(plan("cut", 3)) as run:
        assert len(list(run.remaining())) == len(whole) - 1
        run.report()
    lines = {line["index"]: line for line in lines_of(Path("cut"))}
    assert sorted(lines) == sorted(one.index for one in whole)
    for one in whole:
        line = lines[one.index]
        assert line["prediction"].get("label") == one.prediction.get("label")
        assert line["prediction"].get("text") == one.prediction.get("text")
        assert line["prediction"]["score"] == pytest.approx(one.prediction["score"], rel=1e-4)


def test_the_folder_is_named_after_what_decides_the_numbers(task: str, rows: Path, model: LanguageModel) -> None:
    first = evaluate(task, rows, model=model)
    assert first.folder.name == f"scripted-rows-scripted-{first.signature[:8]}"
    assert evaluate(task, rows, model=model, batch_size=2).folder == first.folder
    others = [
        evaluate(task, rows, model=model, limit=5),
        evaluate(task, rows, model=model, seed=1),
        evaluate(task, rows, model=model, shots=2),
        evaluate(task, rows, model=model, metrics=["accuracy"]),
        evaluate(task, rows, model=model, prompt="Say: {{ text }}"),
        evaluate(task, rows, model=scripted_model(seed=1)),
        evaluate(task, write_rows(rows.parent, 29), model=model),
    ]
    assert len({other.folder for other in others} | {first.folder}) == len(others) + 1


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"limit": 5}, r"limit \(nothing there, 5 here\)"),
        ({"seed": 1}, r"seed \(0 there, 1 here\)"),
        ({"shots": 2}, "the prompt"),
        ({"prompt": "Say: {{ text }}"}, "the prompt"),
        ({"labels": ["odd", "even"]}, r"options.labels \("),
        ({"where": {"label": "odd"}}, "where.label|data.where"),
    ],
)
def test_a_folder_with_another_run_is_refused_naming_what_differs(
    changed: dict[str, Any], named: str, task: str, rows: Path, model: LanguageModel
) -> None:
    evaluate(task, rows, model=model, output="run")
    before = lines_of(Path("run"))
    with pytest.raises(OptionError, match=f"differs from this one in .*({named})") as refusal:
        evaluate(task, rows, model=model, output="run", **changed)
    assert str(refusal.value).count("\n") == 0
    assert lines_of(Path("run")) == before


def test_other_data_and_another_model_are_refused(task: str, rows: Path, model: LanguageModel) -> None:
    evaluate(task, rows, model=model, output="run")
    with pytest.raises(OptionError, match="differs from this one in the model:"):
        evaluate(task, rows, model=scripted_model(seed=1), output="run")
    rows.write_text(rows.read_text("utf-8").replace("Row 3:", "Row three:"), "utf-8")
    with pytest.raises(OptionError, match="differs from this one in the data:"):
        evaluate(task, rows, model=model, output="run")


def test_another_tokenizer_of_the_same_weights_is_refused(default_model: LanguageModel, tmp_path: Path) -> None:
    data = tmp_path / "texts.jsonl"
    data.write_text('{"text": "The ferry leaves at noon."}\n', "utf-8")
    folder = write_tiny_model(tmp_path / "model", default_model.tokenizer)
    first = evaluate("score", data, folder, output="run")
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text("utf-8"))
    tokenizer["model"]["merges"].pop()
    file.write_text(json.dumps(tokenizer), "utf-8")
    with pytest.raises(OptionError, match="differs from this one in the tokenizer:"):
        evaluate("score", data, folder, output="run")
    assert evaluate("score", data, folder).signature != first.signature


def test_shots_are_the_first_rows_and_not_evaluated(task: str, rows: Path, model: LanguageModel) -> None:
    report = evaluate(task, rows, model=model, shots=2, limit=3)
    written = [json.loads(text) for text in rows.read_text("utf-8").split("\n")[:-1]]
    lines = lines_of(report.folder)
    assert [line["index"] for line in lines] == [2, 3, 4]
    shown = [f"Text: {row['text']} {row['label']}" for row in written[:2]]
    assert lines[0]["prompt"] == "\n\n".join([*shown, f"Text: {written[2]['text']}"])
    assert report.counts["shots"] == 2


def test_shots_from_other_data_are_drawn_by_the_seed(task: str, rows: Path, model: LanguageModel) -> None:
    other = write_rows(rows.parent, 40, "other.jsonl")
    runs = [evaluate(task, rows, model=model, shots=3, shots_data=other, seed=seed, limit=1) for seed in (0, 0, 1)]
    prompts = [lines_of(run.folder)[0]["prompt"] for run in runs]
    assert prompts[0] == prompts[1] != prompts[2]
    assert prompts[0].count("Text: ") == 4
    assert lines_of(runs[0].folder)[0]["index"] == 0


def test_worked_examples_of_ones_own_leave_every_row_to_evaluate(task: str, rows: Path, model: LanguageModel) -> None:
    own = [{"text": "A heron", "answer": "odd"}]
    report = evaluate(task, rows, model=model, shots=own)
    lines = lines_of(report.folder)
    assert all(line["prompt"].startswith("Text: A heron odd\n\n") for line in lines)
    assert len(lines) == 30
    assert report.counts["shots"] == 1
    with pytest.raises(OptionError, match=r"Shot 1 has no 'answer'"):
        evaluate(task, rows, model=model, shots=[{"text": "A heron"}])
    with pytest.raises(OptionError, match=r"shots_data is given beside worked examples"):
        evaluate(task, rows, model=model, shots=own, shots_data=rows)


def test_no_shots_shows_none_and_by_default_the_task_chooses(tiny_base: LanguageModel) -> None:
    own = evaluate("sentiment", sample_of("sentiment"), model=tiny_base, where={"language": "en"}, limit=1)
    none = evaluate("sentiment", sample_of("sentiment"), model=tiny_base, where={"language": "en"}, limit=1, shots=0)
    assert lines_of(own.folder)[0]["prompt"].count("Sentiment:") > 1
    assert lines_of(none.folder)[0]["prompt"].count("Sentiment:") == 1
    assert own.counts["shots"] == len(resolve_task("sentiment").shots_in("en")) > 0
    assert none.counts["shots"] == 0


def test_the_shots_that_are_counted_are_those_that_were_shown(
    tiny_base: LanguageModel, tiny_chat: LanguageModel
) -> None:
    data, shot = sample_of("sentiment"), {"text": "Grand.", "label": "positive"}

    def shown(model: LanguageModel, **options: Any) -> int:
        return evaluate("sentiment", data, model, where={"language": "en"}, limit=1, **options).counts["shots"]

    first = shown(tiny_base, output="run")
    assert shown(tiny_base, output="run") == first > 0  # from the lines of a run that was finished
    assert shown(tiny_chat) == 0  # a chat shows none of the task's own
    assert shown(tiny_chat, shots=[shot]) == shown(tiny_base, shots=[shot]) == 1
    assert shown(tiny_base, shots=[{**shot, "language": "zh"}]) == 0
    parts = {"text": "text", "label": "label"}
    names = {"positive": "good", "negative": "bad"}
    other = evaluate("classify", data, tiny_base, columns=parts, where={"language": "en"}, label_names=names, limit=1)
    assert other.counts["shots"] == 0  # the task's own have other labels


def test_columns_labels_and_names_are_read_off_the_data(task: str, model: LanguageModel, tmp_path: Path) -> None:
    data = tmp_path / "reviews.csv"
    data.write_text("sentence,target\nOne.,1\nTwo.,0\nThree.,1\n", "utf-8")
    columns = {"text": "sentence", "label": "target"}
    names = {"0": "even", "1": "odd"}
    report = evaluate(task, data, model=model, columns=columns, label_names=names)
    assert [line["gold"] for line in lines_of(report.folder)] == ["odd", "even", "odd"]
    with pytest.raises(
        DataError, match=r"reviews.csv:2 has the label '1', which is not among the labels \(even, odd\)"
    ):
        evaluate(task, data, model=model, columns=columns)


def test_labels_that_nobody_gives_are_those_of_the_data(tiny_chat: LanguageModel, tmp_path: Path) -> None:
    data = tmp_path / "a.csv"
    data.write_text("text,label\nOne.,b\nTwo.,a\nThree.,c\n", "utf-8")
    report = evaluate("classify", data, model=tiny_chat, limit=1)
    assert set(lines_of(report.folder)[0]["prediction"]["scores"]) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["bleu"]}, "'bleu' compares texts, but the task 'scripted' gives labels"),
        ({"metrics": ["accurcy"]}, "Did you mean 'accuracy'"),
        ({"metrics": ["accuracy", "accuracy"]}, "more than once"),
        ({"baselines": ["lead_1"]}, "no baseline 'lead_1' for this task"),
        ({"columns": {"txt": "a"}}, "Did you mean 'text'"),
        ({"columns": {"text": "txet"}}, r"rows.jsonl:1 has no column 'txet'. Did you mean 'text'"),
        ({"where": {"label": "none"}}, "No row of .* is left"),
        ({"limit": 0}, "limit is 0"),
        ({"shots": -1}, "shots is -1"),
        ({"shots": 30}, "All 30 rows"),
        ({"shots": 31}, "31 shots are asked for, but rows.jsonl has 30 rows"),
        ({"seed": -1}, "seed is -1"),
        ({"sampling": "last"}, "no sampling 'last'"),
        ({"prepare": "first_word"}, "no preparation 'first_word'"),
        ({"temperature": 1.0}, "no option 'temperature'"),
    ],
    ids=str,
)
def test_a_mistake_is_one_sentence_and_leaves_no_folder(
    options: dict[str, Any], message: str, task: str, rows: Path, model: LanguageModel
) -> None:
    with pytest.raises((OptionError, DataError, UnknownNameError), match=message) as error:
        evaluate(task, rows, model=model, **options)
    assert "\n" not in str(error.value)
    assert not Path("runs").exists()


def test_a_row_without_gold_is_named_before_any_model_is_loaded(task: str, rows: Path) -> None:
    with rows.open("a", encoding="utf-8") as file:
        file.write('{"text": "no label"}\n')
    with pytest.raises(DataError, match=r"rows.jsonl:31 has no 'label'"):
        evaluate(task, rows, model="no/such-model-anywhere")


def test_a_task_whose_examples_hold_no_gold_is_refused(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GenerationPipeline, "example_type", Example)  # as a plug-in's might be
    with pytest.raises(OptionError, match="'generate' can't be evaluated"):
        evaluate("generate", rows)


def test_what_the_model_cannot_do_leaves_no_folder(default_model: LanguageModel) -> None:
    with pytest.raises(CapabilityError, match=r"sample.jsonl:5: .*not able"):
        evaluate("sentiment", sample_of("sentiment"), model=default_model, where={"language": "zh"})
    assert not Path("runs").exists()


def test_rows_in_several_languages_are_refused_where_metrics_need_one(tiny_chat: LanguageModel) -> None:
    with pytest.raises(DataError, match=r"several languages \(en, fr, zh\)"):
        evaluate("translate", sample_of("translate"), model=tiny_chat)
    assert evaluate("sentiment", sample_of("sentiment"), model=tiny_chat).counts["examples"] == 8


def test_the_last_word_is_scored_behind_the_rest(tiny_chat: LanguageModel, tmp_path: Path) -> None:
    data = tmp_path / "passages.jsonl"
    data.write_text('{"text": "They walked along the river to the old mill"}\n', "utf-8")
    report = evaluate("score", data, model=tiny_chat, prepare="last_word")
    (line,) = lines_of(report.folder)
    assert line["prompt"] == "They walked along the river to the old"
    assert line["prediction"]["bytes"] == len(" mill")


def test_the_model_is_the_third_argument_or_named(task: str, rows: Path, model: LanguageModel) -> None:
    assert evaluate(task, rows, model) == evaluate(task, rows, model=model)
    parameter = inspect.signature(evaluate).parameters["model"]
    assert (parameter.kind, parameter.default) == (inspect.Parameter.POSITIONAL_OR_KEYWORD, None)
    assert list(inspect.signature(evaluate).parameters).index("model") == 2


def test_without_a_model_it_is_the_default_one(
    task: str, rows: Path, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(LanguageModel, "load", lambda name, **options: loaded.append(name) or model)
    evaluate(task, rows)
    evaluate(task, rows, None)
    assert loaded == [DEFAULT_MODEL, DEFAULT_MODEL]


def test_the_setup_s_options_have_the_setup_s_types() -> None:
    ours, setup = get_type_hints(EvaluationOptions), get_type_hints(SetupOptions)
    model = setup.pop("model")
    assert {name: ours.get(name) for name in setup} == setup
    assert get_type_hints(evaluate)["model"] == model | None


def test_the_options_are_those_of_every_family_and_of_the_setup() -> None:
    known = {*EvaluationOptions.__annotations__, *inspect.signature(evaluate).parameters}
    families = ("ClassificationOptions", "AnswerOptions", "TranslationOptions", "SummaryOptions", "ScoringOptions")
    for name in families:
        assert set(getattr(pipeline_options, name).__annotations__) <= known
    assert set(SetupOptions.__annotations__) <= known
