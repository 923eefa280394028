"""Columns under other names, Parquet files, and data sets of the hub."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps.datasets import Row, parse_rows, read_hub, read_rows, with_columns
from gptapps.errors import DataError

NAMES = st.sampled_from(["text", "label", "sentence", "target"])


def test_columns_come_under_the_names_of_fields() -> None:
    row = Row({"sentence": "Fine.", "target": 1, "id": "a"}, "a.csv:2")
    renamed = with_columns(row, {"text": "sentence", "label": "target"})
    assert (renamed.fields, renamed.where) == ({"text": "Fine.", "label": 1, "id": "a"}, "a.csv:2")


def test_two_columns_may_change_places() -> None:
    row = Row({"source": "Yes.", "target": "Oui."}, "a:1")
    assert with_columns(row, {"source": "target", "target": "source"}).fields == {"source": "Oui.", "target": "Yes."}


def test_one_column_may_serve_two_fields() -> None:
    assert with_columns(Row({"a": 1}, "a:1"), {"b": "a", "c": "a"}).fields == {"b": 1, "c": 1}


def test_a_dot_goes_inside_unless_a_column_has_that_name() -> None:
    nested = Row({"answers": {"text": ["one"]}}, "a:1")
    assert with_columns(nested, {"answers": "answers.text"}).fields == {"answers": ["one"]}
    flat = Row({"answers.text": ["two"], "answers": {"text": ["one"]}}, "a:1")
    assert with_columns(flat, {"gold": "answers.text"}).fields["gold"] == ["two"]


@given(st.dictionaries(NAMES, st.integers(), min_size=1), st.data())
def test_a_mapped_field_has_its_columns_value_and_nothing_is_invented(fields: dict[str, int], data: Any) -> None:
    columns = data.draw(st.dictionaries(NAMES, st.sampled_from(sorted(fields)), max_size=3))
    renamed = with_columns(Row(fields, "a:1"), columns).fields
    for name, value in renamed.items():
        assert value == fields[columns.get(name, name)]
    assert set(renamed) == set(columns) | (set(fields) - set(columns.values()))


@pytest.mark.parametrize("column", ["sentense", "sentence.en", "answers.text"])
def test_a_column_that_isnt_there_is_named_with_its_place(column: str) -> None:
    row = Row({"sentence": "Fine.", "answers": {"start": 0}}, "a.csv:2")
    with pytest.raises(DataError, match=rf"a.csv:2 has no column '{column}'.* It has: sentence, answers"):
        with_columns(row, {"text": column})


def test_parquet_is_read_row_by_row(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"text": ["one", "好"], "label": [1, None], "answers": [{"text": ["x"]}, {"text": []}]})
    parquet.write_table(table, path)
    rows = list(read_rows(path))
    assert [row.where for row in rows] == [f"{path}:1", f"{path}:2"]
    assert rows[0].fields == {"text": "one", "label": 1, "answers": {"text": ["x"]}}
    assert rows[1].fields == {"text": "好", "answers": {"text": []}}


def test_a_parquet_file_that_is_none_or_empty_is_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    with pytest.raises(DataError, match="can't be read"):
        list(read_rows(path))
    path.write_bytes(b"text,label\n")
    with pytest.raises(DataError, match=r"a.parquet is no well-formed Parquet file"):
        list(read_rows(path))
    parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), path)
    with pytest.raises(DataError, match=r"There is no input in .*a.parquet"):
        list(read_rows(path))


def test_parquet_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="standard input can't be read as Parquet"):
        list(parse_rows(sys.stdin, "standard input", "parquet"))


@pytest.mark.parametrize(
    ("module", "read"),
    [("pyarrow", lambda: read_rows(Path("a.parquet"))), ("datasets", lambda: read_hub("hub:a/b:test"))],
)
def test_a_missing_package_is_named_with_the_command_that_brings_it(
    module: str, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(
        DataError, match=rf"needs the package {module}, which isn't installed: run pip install {module}"
    ):
        list(read())


class Image:
    """Named like the kind of a column that holds pictures."""


class Found(list[dict[str, Any]]):
    """What ``datasets`` returns, as far as it is looked at."""

    features: ClassVar[dict[str, Any]] = {
        "label": SimpleNamespace(names=["neg", "pos"]),
        "text": SimpleNamespace(dtype="string"),
        "picture": Image(),
        "pictures": SimpleNamespace(feature=Image()),
        "nested": SimpleNamespace(decode=True),
    }

    def remove_columns(self, columns: list[str]) -> Found:
        return Found([{name: value for name, value in row.items() if name not in columns} for row in self])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A stand-in for ``datasets`` that notes what it is asked for."""
    asked: list[tuple[Any, ...]] = []

    def load_dataset(name: str, config: str | None = None, *, split: str, data_files: str | None = None) -> Found:
        asked.append((name, config or data_files, split))
        if name == "org/scripted":
            raise RuntimeError("Dataset scripts are no longer supported, but found scripted.py")
        if split == "none":
            raise ValueError("Unknown split 'none'.\nMore words.")
        return Found(
            [
                {"text": "one", "label": 1, "picture": 1, "pictures": [1], "nested": "{}"},
                {"text": "two", "label": -1},
                {"text": None, "label": 0},
            ]
        )

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return asked


@pytest.mark.parametrize(("config", "folder"), [("", "default"), ("#Abstract", "Abstract")])
def test_a_set_with_a_script_is_read_from_the_hubs_parquet_files(
    config: str, folder: str, hub: list[tuple[Any, ...]]
) -> None:
    assert len(list(read_hub(f"hub:org/scripted{config}:test"))) == 3
    files = f"hf://datasets/org/scripted@refs/convert/parquet/{folder}/test/*.parquet"
    assert hub == [("org/scripted", config[1:] or None, "test"), ("parquet", files, "train")]


def test_hub_labels_come_by_name_and_gaps_and_pictures_are_left_out(hub: list[tuple[Any, ...]]) -> None:
    rows = list(read_hub("hub:org/name#config:test"))
    assert hub == [("org/name", "config", "test")]
    assert [row.fields for row in rows] == [
        {"text": "one", "label": "pos", "nested": "{}"},
        {"text": "two", "label": -1},
        {"label": "neg"},
    ]
    assert rows[1].where == "hub:org/name#config:test row 2"


@pytest.mark.parametrize(("name", "asked"), [("hub:imdb:test", ("imdb", None, "test")), ("hub:a/b:x[:9]", None)])
def test_the_configuration_may_be_left_out(name: str, asked: Any, hub: list[tuple[Any, ...]]) -> None:
    if asked is None:
        with pytest.raises(DataError, match="write hub:ORG/NAME:SPLIT"):
            list(read_hub(name))
    else:
        list(read_hub(name))
        assert hub == [asked]


@pytest.mark.parametrize("name", ["hub:org/name", "hub:", "hub:a/b#:test", "hub:a/b/c:test"])
def test_a_name_without_a_split_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="names no split of a hub data set"):
        list(read_hub(name))


def test_a_set_that_cant_be_fetched_is_one_sentence(hub: list[tuple[Any, ...]]) -> None:
    with pytest.raises(DataError, match=r"hub:a/b:none can't be fetched \(Unknown split 'none'\): check") as error:
        list(read_hub("hub:a/b:none"))
    assert "\n" not in str(error.value)
