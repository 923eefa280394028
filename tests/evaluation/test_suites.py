"""Suites: what comes with gptapps is sound, and mistakes in one's own are named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from scripted import ScriptedPipeline

from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import CapabilityError, DataError, OptionError, UnknownNameError
from gptapps.evaluation.baselines import require_baselines
from gptapps.evaluation.bench import BenchSettings, Outcome, plan_of, run_suite, suite_table
from gptapps.evaluation.evaluators import evaluator_for
from gptapps.evaluation.measures import metrics_for
from gptapps.evaluation.plan import choose_from_data
from gptapps.evaluation.selection import checked_reading
from gptapps.evaluation.suite import Entry, Suite, load_suite, suite_names
from gptapps.packaged_models import DEFAULT_MODEL, PACKAGED_MODELS
from gptapps.registry import PIPELINES
from gptapps.task_catalog import resolve_task

ENTRIES = [
    pytest.param(suite, entry, id=f"{suite.name}-{entry.name}")
    for suite in map(load_suite, suite_names())
    for entry in suite.entries
]
WITHOUT_COPY = ("arc_challenge",)
WITH_COPIES = [case for case in ENTRIES if case.values[1].local is not None and case.values[1].name not in WITHOUT_COPY]

SETS = {
    "classification": {"sst2", "ag_news", "mrpc", "rte", "cola", "chnsenticorp", "tnews"},
    "question_answering": {
        "squad_v1",
        "squad_v2",
        "boolq",
        "arc_easy",
        "arc_challenge",
        "openbookqa",
        "commonsense_qa",
        "cmrc2018",
    },
    "translation": {"wmt14_en-fr", "wmt14_en-de", "wmt19_en-zh", "wmt19_zh-en", "multi30k_en-de", "multi30k_en-fr"},
    "summarization": {"xsum", "cnn_dailymail", "scitldr", "dialogsum", "lcsts"},
    "language_modelling": {"lambada", "wikitext2"},
}

MINE = """
schema_version = 1
summary = "My rows"

[[entries]]
name = "mine"
task = "scripted.toml"
limit = 5

[entries.local]
path = "rows.jsonl"
"""


@pytest.fixture
def mine(tmp_path: Path, task: str, rows: Path) -> Path:
    """A suite of one's own with one entry."""
    path = tmp_path / "mine.toml"
    path.write_text(MINE, "utf-8")
    return path


def task_of(suite: Suite, entry: Entry) -> str:
    return str(Path(suite.folder) / entry.task) if entry.task.endswith(".toml") else entry.task


def test_the_suites_name_the_sets() -> None:
    assert set(suite_names()) == {*SETS, "smoke"}
    for name, sets in SETS.items():
        assert {entry.name for entry in load_suite(name).entries} == sets


@pytest.mark.parametrize(("suite", "entry"), ENTRIES)
def test_an_entry_is_sound(suite: Suite, entry: Entry) -> None:
    definition = resolve_task(task_of(suite, entry))
    kind = PIPELINES.get(definition.pipeline)
    evaluator = evaluator_for(definition.id, kind)
    metrics_for(definition.id, evaluator, entry.metrics or definition.metrics)
    require_baselines(evaluator, entry.baselines or ())
    kind.merged_options(definition, entry.options)
    for data in filter(None, (entry.local, entry.hub, entry.sample)):
        checked_reading(data.columns, data.where, data.label_names, data.prepare, evaluator)
        if definition.labels and data.label_names:
            assert set(data.label_names.values()) == set(definition.labels)
    assert entry.limit == (5 if entry.name == "wikitext2" else 300)
    assert evaluator.baselines


@pytest.mark.parametrize(("suite", "entry"), ENTRIES)
def test_an_entry_states_limit_seed_and_shots(suite: Suite, entry: Entry) -> None:
    assert {"limit", "seed", "shots"} <= entry.model_fields_set


@pytest.mark.parametrize(("suite", "entry"), [case for case in ENTRIES if case.values[0].name != "smoke"])
def test_a_set_has_a_copy_or_a_hub_id(suite: Suite, entry: Entry) -> None:
    assert entry.local is not None
    assert entry.hub is not None


@pytest.mark.data
@pytest.mark.parametrize(("suite", "entry"), WITH_COPIES)
def test_the_copies_below_a_data_root_are_read(
    suite: Suite, entry: Entry, data_root: Path, default_model: LanguageModel
) -> None:
    settings = BenchSettings(data_root=data_root, limit=20)
    plan = plan_of(suite, entry, default_model, settings)
    assert Path(plan.data).is_file()
    assert plan.shots_data is None or Path(plan.shots_data).is_file()
    definition = resolve_task(plan.task)
    kind = PIPELINES.get(definition.pipeline)
    evaluator = evaluator_for(definition.id, kind)
    chosen = choose_from_data(plan, definition, kind, evaluator)
    assert len(chosen.items) == 20
    if evaluator.kind != "likelihoods":
        few = choose_from_data(replace(plan, shots=2), definition, kind, evaluator)
        assert len(few.shots or ()) == 2


def test_squad_v1_is_scored_by_its_own_rules_as_well() -> None:
    entries = {entry.name: entry for entry in load_suite("question_answering").entries}
    metrics = ("exact_match", "token_f1", "squad_v1_exact_match", "squad_v1_f1")
    assert entries["squad_v1"].metrics == metrics
    assert entries["squad_v1"].metrics[:2] == resolve_task("answer").metrics


def test_smoke_needs_no_data_from_elsewhere_and_leaves_no_family_out() -> None:
    suite = load_suite("smoke")
    assert all(entry.sample is not None for entry in suite.entries)
    families = {resolve_task(entry.task).pipeline for entry in suite.entries}
    assert families == {*SETS, "scoring", "multiple_choice"} - {"language_modelling"}


def test_a_suite_of_ones_own_is_run(mine: Path, model: LanguageModel, tmp_path: Path) -> None:
    suite = load_suite(str(mine))
    (outcome,) = run_suite(suite, model, BenchSettings(data_root=tmp_path))
    assert outcome.report is not None
    assert (outcome.state, outcome.report.counts["examples"]) == ("done", 5)
    assert suite_table([outcome], "scripted") == outcome.report.table
    assert outcome.report.folder.parent == Path("runs")


@pytest.mark.parametrize(
    ("settings", "count"), [({"limit": 3}, 3), ({"full": True}, 30), ({}, 5)], ids=["limit", "full", "own"]
)
def test_limits(settings: dict[str, object], count: int, mine: Path, model: LanguageModel, tmp_path: Path) -> None:
    (outcome,) = run_suite(load_suite(str(mine)), model, BenchSettings(data_root=tmp_path, **settings))  # type: ignore[arg-type]
    assert outcome.report is not None
    assert outcome.report.counts["examples"] == count


def test_a_suite_goes_on_where_it_stopped(
    mine: Path, model: LanguageModel, tmp_path: Path, scripted: type[ScriptedPipeline]
) -> None:
    settings = BenchSettings(data_root=tmp_path)
    suite = load_suite(str(mine))
    first = list(run_suite(suite, model, settings))
    scripted.labelled = ()
    again = list(run_suite(suite, model, settings))
    assert scripted.labelled == ()
    assert [one.report for one in first] == [one.report for one in again]


def test_what_cannot_be_done_is_listed_with_its_reason(
    mine: Path, model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*arguments: object) -> Iterator[None]:
        raise CapabilityError("The model scripted is not able to do it.")

    more = '[[entries]]\nname = "absent"\ntask = "scripted.toml"\n[entries.local]\npath = "none.jsonl"\n'
    mine.write_text(MINE + more, "utf-8")
    monkeypatch.setattr(ScriptedPipeline, "language_of", unable)
    outcomes = list(run_suite(load_suite(str(mine)), model, BenchSettings(data_root=tmp_path)))
    assert [(one.entry, one.state) for one in outcomes] == [("mine", "not able"), ("absent", "failed")]
    table = suite_table(outcomes, "scripted").split("\n")
    assert "rows.jsonl:" in table[0]
    assert table[0].endswith("The model scripted is not able to do it.")
    assert table[1].startswith("absent: failed: There is no none.jsonl below")


def test_without_a_data_root_the_hub_is_asked(mine: Path, model: LanguageModel, tmp_path: Path) -> None:
    mine.write_text(MINE + '[entries.hub]\nid = "a/b"\nconfig = "c"\nsplit = "d"\nshots_split = "e"\n', "utf-8")
    suite = load_suite(str(mine))
    local = plan_of(suite, suite.entries[0], model, BenchSettings(data_root=tmp_path))
    remote = plan_of(suite, suite.entries[0], model, BenchSettings())
    assert (local.data, local.shots_data) == (tmp_path / "rows.jsonl", None)
    assert (remote.data, remote.shots_data) == ("hub:a/b#c:d", "hub:a/b#c:e")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema_version = 1\n", "", "'schema_version' is missing; add it"),
        ("schema_version = 1", "schema_version = 2", "'schema_version' is 2; choose 1"),
        ("limit = 5", "limit = 0", "'entries 1.limit' is 0; write a number of at least 1"),
        ("limit = 5", 'limit = "5"', "'entries 1.limit' is '5'; write a whole number"),
        ("limit = 5", "limt = 5", "'entries 1.limt' is not a key there. Did you mean 'limit'"),
        ('path = "rows.jsonl"', 'pth = "rows.jsonl"', "'entries 1.local.pth' is not a key there. Did you mean 'path'"),
        ("[entries.local]", "[entries.locl]", "'entries 1.locl' is not a key there. Did you mean 'local'"),
        ('[entries.local]\npath = "rows.jsonl"', "", "has no data; add a table local, hub or sample"),
        ('name = "mine"', 'name = "my rows"', "'entries 1.name' is 'my rows'; write a name"),
        ("schema_version = 1", 'name = "x"\nschema_version = 1', "'name' is not a key of the file"),
        ("limit = 5", "limit = ", "no valid TOML"),
    ],
)
def test_a_mistake_is_named_with_file_key_and_remedy(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    assert old in MINE
    path.write_text(MINE.replace(old, new), "utf-8")
    with pytest.raises(DataError) as error:
        load_suite(str(path))
    assert str(path) in str(error.value)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_name_given_twice_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE + MINE[MINE.index("[[entries]]") :], "utf-8")
    with pytest.raises(DataError, match=r"'entries 2.name' is 'mine', which an earlier entry has"):
        load_suite(str(path))


def test_an_unknown_suite_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'summarization'"):
        load_suite("summarisation")
    with pytest.raises(DataError, match="can't be read"):
        load_suite("none.toml")


def test_limit_and_full_contradict_each_other() -> None:
    with pytest.raises(OptionError, match="contradict"):
        BenchSettings(limit=3, full=True)
    with pytest.raises(OptionError, match="limit is 0"):
        BenchSettings(limit=0)


def test_a_table_without_scores_holds_the_reasons() -> None:
    assert suite_table([Outcome("a", state="failed", reason="No.")], "m") == "a: failed: No."


def test_the_definitions_of_suites_need_nothing_the_default_model_lacks() -> None:
    folder = Path(load_suite("classification").folder) / "tasks"
    files = sorted(folder.glob("*.toml"))
    assert files
    capabilities = set(PACKAGED_MODELS[DEFAULT_MODEL].capabilities)
    for file in files:
        assert set(resolve_task(file).needs_in("en")) <= capabilities


@pytest.mark.slow
def test_smoke_on_the_default_model(default_model: LanguageModel) -> None:
    outcomes = list(run_suite(load_suite("smoke"), default_model, BenchSettings()))
    assert {one.state for one in outcomes} == {"done", "not able"}
    assert all("gemma-3-270m" in one.reason for one in outcomes if one.state == "not able")
