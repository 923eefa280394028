"""The data doctor: everything that is wrong is found, placed and told how to mend, before a model is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data_files import diagnosis_of, kinds, mails, questions, the_finding, write_rows

from gptapps.errors import DataError
from gptapps.training.data import DataPlan
from gptapps.training.doctor import diagnose
from gptapps.training.findings import Diagnosis

TRANSLATIONS = [{"text": f"Ferry {n} runs.", "translations": f"Le bac {n} circule."} for n in range(12)]
CODES = {"source": "en", "target": "fr"}


def refusal_of(diagnosis: Diagnosis) -> str:
    with pytest.raises(DataError) as caught:
        diagnosis.require()
    return str(caught.value)


@pytest.mark.parametrize(
    ("task", "rows", "plan"),
    [
        ("classify", mails(), {}),
        ("answer", questions(), {}),
        ("translate", TRANSLATIONS, {"options": CODES}),
        ("summarize", [{"text": f"Fog stopped ferry {n}.", "summaries": f"Ferry {n} stopped."} for n in range(12)], {}),
        ("choose", [{"question": f"{n} + 1?", "choices": [str(n), str(n + 1)], "answer": 1} for n in range(12)], {}),
        ("generate", [{"text": f"Say {n}.", "completions": [f"{n}!"]} for n in range(12)], {}),
        ("score", [{"text": f"Fog, day {n}."} for n in range(12)], {}),
    ],
)
def test_healthy_data_has_no_findings(tmp_path: Path, task: str, rows: Any, plan: dict[str, Any]) -> None:
    diagnosis = diagnosis_of(tmp_path, rows, task=task, validation=0.2, **plan)
    assert (diagnosis.findings, diagnosis.table) == ((), "")
    assert len(diagnosis.require().train) + len(diagnosis.require().validation) == len(rows)


# --- what is fatal


def test_a_wrong_column_is_named_with_the_likeliest_and_told_once(tmp_path: Path) -> None:
    rows = [{"text": row["text"], "lable": row["label"]} for row in mails()]
    diagnosis = diagnosis_of(tmp_path, rows)
    finding = the_finding(diagnosis, "wrong_column")
    assert (finding.severity, finding.column, finding.count, finding.row) == ("fatal", "label", 20, None)
    assert "Did you mean 'lable'?" in finding.what
    assert "columns label=…" in finding.remedy
    assert kinds(diagnosis) == ["wrong_column"]


def test_a_column_that_was_named_and_is_not_there(tmp_path: Path) -> None:
    finding = the_finding(diagnosis_of(tmp_path, mails(), columns={"text": "body"}), "wrong_column")
    assert finding.column == "body"
    assert "columns text=…" in finding.remedy
    assert "There are: text, label" in finding.what


def test_plain_texts_to_continue_are_sent_to_the_task_that_learns_them(tmp_path: Path) -> None:
    finding = the_finding(
        diagnosis_of(tmp_path, [{"text": f"Fog, day {n}."} for n in range(9)], task="generate"), "wrong_column"
    )
    assert "learn plain texts as the task 'score'" in finding.remedy


def test_a_column_of_free_text_is_no_label(tmp_path: Path) -> None:
    rows = [{"text": row["text"], "label": f"Ticket {number}"} for number, row in enumerate(mails(30))]
    finding = the_finding(diagnosis_of(tmp_path, rows), "wrong_column")
    assert "30 different values in 30 rows" in finding.what


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_a_missing_label_is_found_in_its_row(tmp_path: Path, nothing: object) -> None:
    rows = mails()
    rows[6]["label"] = nothing
    finding = the_finding(diagnosis_of(tmp_path, rows), "missing" if nothing is None else "empty")
    assert (finding.severity, finding.row, finding.column, finding.count) == ("fatal", 7, "label", 1)


def test_an_empty_cell_of_a_table_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("review,stars\nFine,good\nPoor,\nWell,bad\n", encoding="utf-8")
    plan = DataPlan(task="classify", train=path, validation=None, columns={"text": "review", "label": "stars"})
    finding = the_finding(diagnose(plan), "missing")
    assert (finding.row, finding.column) == (3, "stars")


def test_an_unknown_label_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    rows = [
        {"text": row["text"], "label": "positive" if number % 2 else "negative"} for number, row in enumerate(mails())
    ]
    rows[3]["label"] = rows[9]["label"] = "postive"
    finding = the_finding(diagnosis_of(tmp_path, rows, task="sentiment"), "unknown_label")
    assert (finding.severity, finding.row, finding.count) == ("fatal", 4, 2)
    assert "'postive' is not among the labels (negative, positive). Did you mean 'positive'?" in finding.what
    assert "label_names" in finding.remedy


def test_a_label_of_validation_that_nothing_was_learned_of(tmp_path: Path) -> None:
    diagnosis = diagnosis_of(tmp_path, mails(), validation=[{"text": "Fresh", "label": "later"}])
    finding = the_finding(diagnosis, "unknown_label")
    assert finding.place.endswith("validation.jsonl:1")


def test_a_label_without_a_name(tmp_path: Path) -> None:
    names = {"urgent": "now", "routin": "later"}
    finding = the_finding(diagnosis_of(tmp_path, mails(), label_names=names), "unknown_label")
    assert "'routine' is not among label_names" in finding.what


def test_a_label_that_is_named_as_none_there_is(tmp_path: Path) -> None:
    names = {"urgent": "positive", "routine": "neutral"}
    diagnosis = diagnosis_of(tmp_path, mails(), task="sentiment", label_names=names)
    finding = the_finding(diagnosis, "unknown_label")
    assert (finding.row, finding.count) == (2, 10)
    assert "'neutral' is not among the labels (negative, positive)" in finding.what
    three = {"labels": ["negative", "neutral", "positive"]}
    assert diagnosis_of(tmp_path, mails(), task="sentiment", label_names=names, options=three).data is not None


@pytest.mark.parametrize(("field", "task"), [("text", "classify"), ("question", "answer"), ("context", "answer")])
def test_an_empty_text_is_found_in_its_row(tmp_path: Path, field: str, task: str) -> None:
    rows = mails() if task == "classify" else questions()
    rows[2][field] = " \n"
    finding = the_finding(diagnosis_of(tmp_path, rows, task=task), "empty")
    assert (finding.severity, finding.row, finding.column) == ("fatal", 3, field)


def test_a_question_without_an_answer_cannot_be_learned_but_may_validate(tmp_path: Path) -> None:
    rows = questions()
    rows[4]["answers"] = []
    finding = the_finding(diagnosis_of(tmp_path, rows, task="answer"), "empty")
    assert (finding.severity, finding.row, finding.column) == ("fatal", 5, "answers")
    other = [{"question": "谁写的？", "context": "今天的报纸上没有写作者是谁。", "answers": []}]
    assert diagnosis_of(tmp_path, questions(), task="answer", validation=other).data is not None


def test_a_row_of_another_kind_is_told_by_its_own_message(tmp_path: Path) -> None:
    rows = [{"question": f"{n} + 1?", "choices": ["1", "2"], "answer": 1} for n in range(9)]
    rows[5]["answer"] = 7
    finding = the_finding(diagnosis_of(tmp_path, rows, task="choose"), "unusable")
    assert (finding.severity, finding.row) == ("fatal", 6)
    assert "none of the choices" in finding.what


def test_a_single_label_is_nothing_to_learn(tmp_path: Path) -> None:
    rows = [{**row, "label": "urgent"} for row in mails()]
    finding = the_finding(diagnosis_of(tmp_path, rows), "single_label")
    assert (finding.severity, finding.column) == ("fatal", "label")
    assert "'urgent'" in finding.what


def test_the_same_data_cannot_validate(tmp_path: Path) -> None:
    diagnosis = diagnosis_of(tmp_path, mails(), validation=mails())
    assert the_finding(diagnosis, "same_data").severity == "fatal"
    assert diagnosis.data is None


def test_validation_that_is_all_among_the_rows_to_learn_from(tmp_path: Path) -> None:
    assert the_finding(diagnosis_of(tmp_path, mails(), validation=mails(4)), "leak").severity == "fatal"


@pytest.mark.parametrize(
    ("change", "what", "column"),
    [
        ({"source": "English"}, "'English' is not the code", "source"),
        ({"source": "A man in an orange hat is staring."}, "'A man in an orange h…' is not", "source"),
        ({"target": None}, "nothing says what the target language is", None),
        ({"target": "en"}, "from 'en' to the same", None),
    ],
)
def test_languages_of_a_translation_are_codes(
    tmp_path: Path, change: dict[str, str | None], what: str, column: str | None
) -> None:
    rows = [{**row, **CODES, **(change if number == 4 else {})} for number, row in enumerate(TRANSLATIONS)]
    finding = the_finding(diagnosis_of(tmp_path, rows, task="translate"), "wrong_language")
    assert (finding.severity, finding.row, finding.column, finding.count) == ("fatal", 5, column, 1)
    assert what in finding.what


def test_answers_that_are_never_in_their_context_are_fatal(tmp_path: Path) -> None:
    rows = [{**row, "answers": ["明天上午"]} for row in questions()]
    finding = the_finding(diagnosis_of(tmp_path, rows, task="answer"), "answer_not_in_context")
    assert (finding.severity, finding.count) == ("fatal", 12)


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("gb18030", "GB18030"),
        ("big5", "Big5"),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16LE"),
        ("cp1252", "Windows-1252"),
    ],
)
def test_a_wrong_encoding_is_named_with_the_command_that_converts_it(tmp_path: Path, encoding: str, name: str) -> None:
    texts = {
        "cp1252": "Le café est fermé, dit la gérante",
        "big5": "因為有霧，渡輪改在下午開，請大家在碼頭等一會",
    }
    text = texts.get(encoding, "因为有雾，渡轮改在下午开，请大家在码头等一会")
    path = tmp_path / "letters.csv"
    path.write_bytes(("text,label\n" + "".join(f"{text}{n},{n % 2}\n" for n in range(20))).encode(encoding))
    diagnosis = diagnose(DataPlan(task="classify", train=path))
    finding = the_finding(diagnosis, "wrong_encoding")
    assert finding.severity == "fatal"
    assert name in finding.what
    assert f"iconv -f {name} -t UTF-8 {path} > {tmp_path / 'letters-utf8.csv'}" in finding.remedy


def test_both_files_are_told_where_neither_can_be_read(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "Fine", "label": "a"}\n{"text": \n', encoding="utf-8")
    diagnosis = diagnose(DataPlan(task="classify", train=broken, validation=tmp_path / "absent.jsonl"))
    assert kinds(diagnosis) == ["unreadable", "unreadable"]
    message = refusal_of(diagnosis)
    assert f"{broken}:2 is no JSON" in message
    assert "absent.jsonl can't be read" in message


# --- what is a warning


def test_repetitions_are_counted_word_for_word_and_loosely(tmp_path: Path) -> None:
    rows = [*mails(), mails()[2], {**mails()[5], "text": f"  {mails()[5]['text']!s}!!".upper()}]
    finding = the_finding(diagnosis_of(tmp_path, rows), "duplicate")
    assert (finding.severity, finding.row, finding.count) == ("warning", 21, 2)
    assert "(first: row 3; 1 of them but for case, spaces and punctuation)" in finding.what


def test_a_conflict_names_both_rows_and_both_labels(tmp_path: Path) -> None:
    rows = [*mails(), {**mails()[2], "label": "routine"}]
    diagnosis = diagnosis_of(tmp_path, rows)
    finding = the_finding(diagnosis, "conflict")
    assert (finding.severity, finding.row, finding.count) == ("warning", 21, 1)
    assert "(row 3), but is 'urgent' there and 'routine' here" in finding.what
    assert kinds(diagnosis) == ["conflict"]


def test_two_translations_of_a_sentence_are_no_conflict(tmp_path: Path) -> None:
    rows = [*TRANSLATIONS, {**TRANSLATIONS[0], "translations": "Le traversier 0 part."}]
    assert diagnosis_of(tmp_path, rows, task="translate", options=CODES).findings == ()


def test_a_leak_is_found_word_for_word_and_loosely(tmp_path: Path) -> None:
    other = [
        mails()[3],
        {**mails()[4], "text": str(mails()[4]["text"]).lower() + "…"},
        {"text": "Fresh", "label": "urgent"},
    ]
    finding = the_finding(diagnosis_of(tmp_path, mails(), validation=other), "leak")
    assert (finding.severity, finding.row, finding.count) == ("warning", 1, 2)
    assert finding.place.endswith("validation.jsonl:1")
    assert "2 of 3 rows" in finding.what
    assert "(first: row 4; 1 of them but for case, spaces and punctuation)" in finding.what


def test_a_leak_of_chinese_text_in_another_punctuation(tmp_path: Path) -> None:
    rows = [{"text": f"酒店不错，第{n}次住了。", "label": ("好", "坏")[n % 2]} for n in range(20)]
    other = [{"text": "酒店不错 第7次住了！", "label": "坏"}, {"text": "房间太小，隔音也差。", "label": "坏"}]
    assert the_finding(diagnosis_of(tmp_path, rows, validation=other), "leak").count == 1


def test_a_text_that_is_nearly_one_to_learn_from(tmp_path: Path) -> None:
    long = "The ferry to Osby was cancelled on Monday because of thick fog, and it will run again on Tuesday at noon"
    rows = [*mails(), {"text": long, "label": "urgent"}]
    other = [{"text": f"{long} sharp", "label": "urgent"}, {"text": "A fresh mail", "label": "routine"}]
    finding = the_finding(diagnosis_of(tmp_path, rows, validation=other), "near_leak")
    assert (finding.severity, finding.row, finding.count) == ("warning", 1, 1)
    assert "(row 21)" in finding.what


def test_questions_about_a_context_that_is_asked_about_to_learn_from(tmp_path: Path) -> None:
    other = [{**questions()[3], "question": "渡轮为什么改时间？", "answers": ["因为有雾"]}]
    other.append({"question": "谁来了？", "context": "昨天晚上小王从城里来了。", "answers": ["小王"]})
    finding = the_finding(diagnosis_of(tmp_path, questions(), task="answer", validation=other), "shared_context")
    assert (finding.severity, finding.row, finding.count) == ("warning", 1, 1)


def test_answers_that_are_not_in_their_context_are_counted(tmp_path: Path) -> None:
    rows = [*questions(), {"question": "Who?", "context": "Ada wrote it.", "answers": "ada"}]
    finding = the_finding(diagnosis_of(tmp_path, rows, task="answer"), "answer_not_in_context")
    assert (finding.severity, finding.row, finding.column, finding.count) == ("warning", 13, "answers", 1)
    assert "in 1 of them it does but for case" in finding.what


def test_uneven_labels_are_told_with_their_numbers(tmp_path: Path) -> None:
    rows = [{**row, "label": "urgent" if number < 2 else "routine"} for number, row in enumerate(mails(30))]
    finding = the_finding(diagnosis_of(tmp_path, rows), "imbalance")
    assert finding.severity == "warning"
    assert "'routine' has 28 rows and 'urgent' 2" in finding.what


def test_a_label_that_no_row_has(tmp_path: Path) -> None:
    labels = {"options": {"labels": ["urgent", "routine", "later"]}}
    finding = the_finding(diagnosis_of(tmp_path, mails(), **labels), "absent_label")
    assert "'later'" in finding.what


def test_two_spellings_of_a_label(tmp_path: Path) -> None:
    rows = [*mails(), {"text": "Come at once", "label": "Urgent"}]
    finding = the_finding(diagnosis_of(tmp_path, rows), "similar_labels")
    assert "'Urgent', 'urgent'" in finding.what


@pytest.mark.parametrize("garbage", ["Le cafÃ© est fermÃ©", "æœ‰é›¾", "caf\ufffd", "锟斤拷今天有雾"])
def test_a_text_that_was_read_in_a_wrong_encoding(tmp_path: Path, garbage: str) -> None:
    finding = the_finding(diagnosis_of(tmp_path, [*mails(), {"text": garbage, "label": "urgent"}]), "garbled")
    assert (finding.severity, finding.row, finding.column) == ("warning", 21, "text")


@pytest.mark.parametrize(
    "fine", ["Le café est fermé, à Osby", "Ænder og Ål", "今天有雾", "Größe: 5 € – “neu”", "São João"]
)
def test_other_letters_are_not_garbled(tmp_path: Path, fine: str) -> None:
    assert diagnosis_of(tmp_path, [*mails(), {"text": fine, "label": "urgent"}]).findings == ()


# --- how it is told


def test_all_that_is_fatal_is_in_one_message_and_the_most_important_comes_first(tmp_path: Path) -> None:
    rows = mails()
    rows[3]["text"], rows[8]["label"] = "", None
    diagnosis = diagnosis_of(tmp_path, [*rows, rows[0]], validation=[{"text": "Fresh", "tag": "urgent"}])
    assert kinds(diagnosis) == ["wrong_column", "missing", "empty", "duplicate"]
    message = refusal_of(diagnosis)
    assert message.startswith("The data can't be learned from before 3 things are mended.\n  1. ")
    assert "train.jsonl:9: nothing stands in the column 'label': fill it in, or leave the row out.\n" in message
    assert "the same as" not in message
    assert diagnosis.data is None


def test_a_single_fatal_finding_is_one_sentence(tmp_path: Path) -> None:
    rows = mails()
    rows[3]["text"] = rows[5]["text"] = ""
    message = refusal_of(diagnosis_of(tmp_path, rows))
    assert message == (
        f"{tmp_path / 'train.jsonl'}:4 and 1 other row: the column 'text' is empty: fill it in, or leave the row out."
    )


def test_the_table_has_a_line_for_each_finding(tmp_path: Path) -> None:
    rows = [*mails(), mails()[2], {"text": "", "label": "urgent"}]
    lines = diagnosis_of(tmp_path, rows).table.splitlines()
    assert len(lines) == 3
    assert lines[1].split()[:4] == ["fatal", "train.jsonl:22", "text", "1"]
    assert lines[2].split()[:3] == ["warning", "train.jsonl:21", "1"]


def test_it_is_json_as_well(tmp_path: Path) -> None:
    told = json.loads(json.dumps(diagnosis_of(tmp_path, [*mails(), mails()[2]]).as_dict()))
    assert told["healthy"] is True
    assert [finding["kind"] for finding in told["findings"]] == ["duplicate"]
    assert told["data"]["checksums"]["train"]["rows"] == 21


def test_no_model_is_looked_for_where_something_is_fatal(tmp_path: Path) -> None:
    rows = [{**row, "label": "urgent"} for row in mails()]
    assert kinds(diagnosis_of(tmp_path, rows, model="no/such-model")) == ["single_label"]


def test_a_plug_ins_rows_are_examined_as_well(tmp_path: Path) -> None:
    path = tmp_path / "hurry.toml"
    path.write_text(
        'schema_version = 1\npipeline = "classification"\nsummary = "Hurry"\nlabels = ["urgent", "routine"]\n'
        'metrics = ["accuracy"]\n[prompts.en]\nplain = "Mail: {{ text }}"\n',
        encoding="utf-8",
    )
    train = write_rows(tmp_path / "a.jsonl", [*mails(), {"text": "Soon", "label": "soon"}])
    assert kinds(diagnose(DataPlan(task=str(path), train=train))) == ["unknown_label"]
