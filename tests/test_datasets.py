"""Rows of files: every format, lazily, and every mistake named with its file and line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps.datasets import Format, Row, chosen_fields, parse_rows, read_rows
from gptapps.errors import DataError

PRINTABLE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).map(str.strip).filter(bool)
TABLE = st.lists(st.tuples(PRINTABLE, PRINTABLE), min_size=1, max_size=5)


def rows_of(content: str, format: Format, name: str = "input") -> list[Row]:
    return list(parse_rows(io.StringIO(content, newline=""), name, format))


def fields_of(content: str, format: Format) -> list[dict[str, object]]:
    return [dict(row.fields) for row in rows_of(content, format)]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "One text.\nTwo lines.\n", [("", "One text.\nTwo lines.")]),
        ("a", "No suffix.", [("", "No suffix.")]),
        ("a.md", "# Any other suffix", [("", "# Any other suffix")]),
        ("a.jsonl", '{"text": "one"}\n\n{"text": "two"}', [(":1", "one"), (":3", "two")]),
        ("a.NDJSON", '{"text": "one"}', [(":1", "one")]),
        ("a.csv", 'text,label\n"one, and\n two",x\nthree,y\n', [(":3", "one, and\n two"), (":4", "three")]),
        ("a.CSV", "text\none\n", [(":2", "one")]),
        ("a.tsv", 'text\tlabel\nsaid "one"\tx\n', [(":2", 'said "one"')]),
    ],
)
def test_the_suffix_says_how_a_file_is_read(
    tmp_path: Path, name: str, content: str, expected: list[tuple[str, str]]
) -> None:
    path = write(tmp_path, name, content)
    assert [(row.where, row.fields["text"]) for row in read_rows(path)] == [
        (f"{path}{where}", text) for where, text in expected
    ]


def test_a_format_overrules_the_suffix(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "one, two\nthree\n")
    assert [row.fields["text"] for row in read_rows(path, "lines")] == ["one, two", "three"]
    assert [row.fields["text"] for row in read_rows(path, "text")] == ["one, two\nthree"]


def test_blank_lines_are_no_rows_and_count() -> None:
    assert [row.where for row in rows_of("\none\n \ntwo\n", "lines")] == ["input:2", "input:4"]


@pytest.mark.parametrize("format", ["text", "lines", "jsonl", "csv", "tsv"])
def test_a_byte_order_mark_and_other_line_ends_are_no_part_of_a_text(tmp_path: Path, format: Format) -> None:
    content = {"text": "good", "lines": "good\r\n", "jsonl": '{"text": "good"}\r\n'}.get(format, "text\r\ngood\r\n")
    path = write(tmp_path, "a", b"\xef\xbb\xbf" + content.encode())
    assert [dict(row.fields) for row in read_rows(path, format)] == [{"text": "good"}]


@given(TABLE)
def test_a_csv_file_gives_back_what_was_written(rows: list[tuple[str, str]]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerows([("text", "label"), *rows])
    assert fields_of(file.getvalue(), "csv") == [{"text": text, "label": label} for text, label in rows]


@given(st.lists(st.dictionaries(PRINTABLE, st.none() | st.booleans() | st.integers() | PRINTABLE), min_size=1))
def test_json_lines_give_back_what_was_written(rows: list[dict[str, object]]) -> None:
    content = "".join(json.dumps(row) + "\n" for row in rows)
    assert fields_of(content, "jsonl") == rows


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), st.sampled_from(["jsonl", "csv", "tsv"]))
def test_whatever_a_file_holds_there_are_rows_or_a_sentence(content: str, format: Format) -> None:
    sentence = ""
    try:
        rows_of(content, format)
    except DataError as error:
        sentence = str(error)
    assert "\n" not in sentence
    assert "input" in sentence or not sentence


def test_an_index_without_a_name_is_a_column_like_any_other() -> None:
    assert fields_of(",text\n0,good\n1,bad\n", "csv") == [{"": "0", "text": "good"}, {"": "1", "text": "bad"}]


def test_an_empty_cell_is_no_value() -> None:
    assert fields_of("text,text_pair\none,\n", "csv") == [{"text": "one"}]


@pytest.mark.parametrize(
    ("format", "content", "expected"),
    [
        ("jsonl", '{"text": "a"}\n{"text": \n', "input:2 is no JSON (Expecting value at column 1): mend the line."),
        ("jsonl", '["a"]', 'input:1 is no JSON object: write a line such as {"text": "…"}.'),
        ("jsonl", "[" * 100_000, "input:1 nests too deep or holds too long a number: simplify the line."),
        ("jsonl", f'{{"n": {"1" * 5000}}}', "input:1 nests too deep or holds too long a number: simplify the line."),
        ("jsonl", r'{"text": "\uD83D"}', r"input:1 escapes half a character (\ud800 to \udfff): mend the line."),
        ("csv", "text,label\na,b\nc,d,e\n", "input:3 has more columns than the first line names: quote or remove"),
        ("csv", "text,label\na\n", "input:2 has no column 'label': give every row 2 columns."),
        ("csv", "text,label,text\na,b,c\n", "input:1 names the column 'text' more than once: give each its own name."),
        ("csv", 'text\nfine\n"x"y\n', "input:3 is no well-formed table row (',' expected after '\"'): mend it."),
        ("csv", 'text\nfine\n"x\ny', "input:4 is no well-formed table row (unexpected end of data): mend it."),
        ("csv", f"text\n{'x' * 140_000}\n", "input:2 has a field of more than 131,072 characters: put such texts"),
        ("tsv", "text\tlabel\na\tb\tc\n", "input:2 has more columns than the first line names"),
        *((format, "", "There is no input in input: give it some text.") for format in ("text", "lines", "jsonl")),
        *((format, "text\n", "There is no input in input: give it some text.") for format in ("csv", "tsv")),
        ("text", " \n ", "There is no input in input: give it some text."),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(format: Format, content: str, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        rows_of(content, format)
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


def test_a_whole_character_may_be_escaped() -> None:
    assert fields_of(r'{"text": "\ud83d\ude00 \\ud83d"}', "jsonl") == [{"text": "😀 \\ud83d"}]


def test_rows_before_a_mistake_come_first() -> None:
    rows = parse_rows(io.StringIO('{"text": "a"}\n{"text": "b"}\nbroken\n'), "input", "jsonl")
    assert [next(rows).fields["text"], next(rows).fields["text"]] == ["a", "b"]
    with pytest.raises(DataError, match=r"input:3 is no JSON"):
        next(rows)


@pytest.mark.parametrize("format", ["lines", "jsonl"])
def test_rows_are_read_as_they_are_asked_for(format: Format) -> None:
    read = 0

    class Endless(io.StringIO):
        def __next__(self) -> str:
            nonlocal read
            read += 1
            return '{"text": "a"}\n'

    rows = parse_rows(Endless(), "input", format)
    assert read == 0
    for _ in range(3):
        next(rows)
    assert read == 3


@pytest.mark.parametrize("format", ["text", "lines", "jsonl", "csv", "tsv"])
def test_another_encoding_is_named_with_a_remedy(tmp_path: Path, format: Format) -> None:
    path = write(tmp_path, "a.txt", "房间干净明亮".encode("gb18030"))
    with pytest.raises(DataError, match=r"a\.txt is no UTF-8 text \(byte 0x[0-9a-f]{2}\): convert it.*iconv"):
        list(read_rows(path, format))


@pytest.mark.parametrize(
    ("name", "reason"), [("nowhere.txt", "no such file or directory"), (".", "is a directory"), ("a/b", "")]
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, name: str, reason: str) -> None:
    write(tmp_path, "a", "a file")
    with pytest.raises(DataError, match=rf"can't be read \(.*{reason}.*\): give the path of a text file\."):
        list(read_rows(tmp_path / name))


def test_only_the_fields_of_the_example_are_chosen() -> None:
    row = Row({"id": 7, "text": "a", "label": "x"}, "input:2")
    assert chosen_fields(row, ("text", "text_pair", "label"), ("text",)) == {"text": "a", "label": "x"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"txt": "a"}, "input:2 has no 'text'. Did you mean 'txt'? It has: txt."),
        ({"sentence": "a", "y": "b"}, "input:2 has no 'text'. It has: sentence, y."),
        ({}, "input:2 has no 'text'. It has: nothing."),
    ],
)
def test_a_missing_column_suggests_the_one_that_was_meant(fields: dict[str, object], expected: str) -> None:
    with pytest.raises(DataError) as caught:
        chosen_fields(Row(fields, "input:2"), ("text",), ("text",))
    assert str(caught.value) == expected
