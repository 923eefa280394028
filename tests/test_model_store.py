"""Names of models -> local files: packaged models, folders, GGUF files, and what else a name can be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import platformdirs
import pytest
from wheel_index import point_pip_at, write_model

from gptapps import model_store
from gptapps.errors import CheckpointError, ModelFetchError, ModelNotFoundError, OptionError
from gptapps.model_store import (
    DEFAULT_MODEL,
    PACKAGED_MODELS,
    LocalModel,
    PackagedModel,
    cache_directory,
    cache_size,
    derived_directory,
    is_offline,
    list_models,
    pull,
    remove,
    resolve,
)

CONTENT = b"GGUF " * 1000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and no setting that forbids fetching."""
    monkeypatch.setenv("GPTAPPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("GPTAPPS_OFFLINE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, PackagedModel]:
    """Two packaged models of a few bytes, to be had from a folder."""
    index = tmp_path / "index"
    index.mkdir()
    point_pip_at(index, monkeypatch)
    models = (
        write_model(index, CONTENT, name="tiny-model"),
        write_model(index, b"GGUF other", name="licensed-model", needs_acceptance=True),
    )
    return {model.name: model for model in models}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like a model in the Hugging Face layout."""
    place = tmp_path / "my-model"
    place.mkdir()
    (place / "config.json").write_text("{}")
    (place / "model.safetensors").write_bytes(b"")
    return place


def test_importing_is_cheap() -> None:
    heavy = "{'torch', 'huggingface_hub', 'transformers', 'filelock', 'pip'}"
    code = f"import sys, gptapps.model_store; print(sorted({heavy} & set(sys.modules)))"
    root = Path(model_store.__file__).parents[1]
    assert subprocess.check_output([sys.executable, "-c", code], cwd=root, text=True) == "[]\n"


def test_a_packaged_model_is_fetched_then_found(catalogue: Mapping[str, PackagedModel], cache: Path) -> None:
    local = resolve("tiny-model", catalogue=catalogue)
    assert local == LocalModel("tiny-model", local.path, catalogue["tiny-model"])
    assert local.path.is_relative_to(cache)
    assert local.path.read_bytes() == CONTENT
    assert resolve("tiny-model", offline=True, catalogue=catalogue) == local


@pytest.mark.parametrize("setting", ["HF_HUB_OFFLINE", "GPTAPPS_OFFLINE"])
def test_settings_forbid_fetching(
    catalogue: Mapping[str, PackagedModel], monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv(setting, "1")
    for fetch in (resolve, pull):
        with pytest.raises(ModelFetchError, match="nothing may be fetched"):
            fetch("tiny-model", catalogue=catalogue)
    monkeypatch.setenv(setting, "0")
    pull("tiny-model", catalogue=catalogue)
    monkeypatch.setenv(setting, "1")
    assert resolve("tiny-model", catalogue=catalogue).path.is_file()


@pytest.mark.parametrize(
    ("value", "forbids"), [("1", True), ("true", True), ("YES", True), ("On ", True), ("0", False), ("", False)]
)
def test_what_counts_as_offline(monkeypatch: pytest.MonkeyPatch, value: str, forbids: bool) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert is_offline() is forbids


def test_pull_mends_what_a_quick_look_cannot_see(catalogue: Mapping[str, PackagedModel]) -> None:
    local = pull("tiny-model", catalogue=catalogue)
    before = local.path.stat()
    local.path.write_bytes(b"x" * len(CONTENT))
    os.utime(local.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert pull("tiny-model", catalogue=catalogue).path.read_bytes() == CONTENT


def test_the_list_tells_states_sizes_and_licences(catalogue: Mapping[str, PackagedModel]) -> None:
    assert [(stored.name, stored.state, stored.bytes_on_disk) for stored in list_models(catalogue=catalogue)] == [
        ("tiny-model", "absent", 0),
        ("licensed-model", "absent", 0),
    ]
    assert cache_size() == 0
    tiny = pull("tiny-model", catalogue=catalogue)
    ready, licensed = list_models(catalogue=catalogue)
    assert (ready.state, ready.path, ready.licence_accepted) == ("ready", tiny.path, True)
    assert (licensed.state, licensed.licence, licensed.licence_accepted) == ("absent", "Example Terms", False)
    assert cache_size() >= ready.bytes_on_disk >= len(CONTENT)
    pull("licensed-model", accept_licence=True, catalogue=catalogue)
    assert list_models(catalogue=catalogue)[1].licence_accepted


def test_remove_frees_what_the_list_showed(catalogue: Mapping[str, PackagedModel]) -> None:
    local = pull("tiny-model", catalogue=catalogue)
    derived = derived_directory(local)
    assert catalogue["tiny-model"].sha256 in derived.parts
    derived.mkdir(parents=True)
    (derived / "weights").write_bytes(b"derived")
    (stored, _) = list_models(catalogue=catalogue)
    assert remove("tiny-model", catalogue=catalogue) == stored.bytes_on_disk
    assert list_models(catalogue=catalogue)[0].state == "absent"
    assert not derived.exists()
    with pytest.raises(ModelNotFoundError, match="nothing to remove"):
        remove("tiny-model", catalogue=catalogue)


def test_remove_suggests_the_nearest_name(catalogue: Mapping[str, PackagedModel]) -> None:
    with pytest.raises(ModelNotFoundError, match="Did you mean 'tiny-model'"):
        remove("tiny-modle", catalogue=catalogue)


def test_a_folder_and_a_gguf_file_are_used_where_they_lie(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.GGUF").write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (str(folder), "my-model", "./my-model/", "~/my-model"):
        assert resolve(name, offline=True) == LocalModel(name, folder)
    assert resolve("model.GGUF").path == tmp_path / "model.GGUF"


def test_a_packaged_name_comes_before_a_folder_of_that_name(
    catalogue: Mapping[str, PackagedModel], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.rename(tmp_path / "tiny-model")
    monkeypatch.chdir(tmp_path)
    assert resolve("tiny-model", catalogue=catalogue).packaged is not None
    assert resolve("./tiny-model", catalogue=catalogue).packaged is None


def test_a_folder_named_like_a_hub_id_comes_before_the_hub(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org").mkdir()
    folder.rename(tmp_path / "org" / "name")
    monkeypatch.chdir(tmp_path)
    assert resolve("org/name").path == tmp_path / "org" / "name"


def test_a_folder_without_a_configuration_is_no_model(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(ModelNotFoundError, match=r"my-model holds no model, for it has no config\.json"):
        resolve(str(folder))
    (folder / "weights.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelNotFoundError, match=r"name the GGUF file itself, .*weights\.gguf"):
        resolve(str(folder))


def test_a_folder_of_pickles_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pickles .* are never loaded .*save_pretrained"):
        resolve(str(folder))


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModelNotFoundError, match=r"notes\.txt is no model"):
        resolve(str(tmp_path / "notes.txt"))


@pytest.mark.parametrize("name", ["", "nowhere", "/nowhere/at/all", "a/b/c", "org/missing.gguf", "x" * 5000, "\0"])
def test_a_name_that_is_nothing(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="There is no model"):
        resolve(name)


def test_a_misspelt_name_suggests_the_right_one() -> None:
    with pytest.raises(ModelNotFoundError, match=f"Did you mean '{re.escape(DEFAULT_MODEL)}'"):
        resolve("smollm2-135m-instuct")


def test_only_hub_models_have_revisions(catalogue: Mapping[str, PackagedModel], folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    for name in ("tiny-model", str(folder), str(tmp_path / "model.gguf")):
        with pytest.raises(OptionError, match="only hub models have revisions"):
            resolve(name, revision="main", catalogue=catalogue)


def test_only_packaged_models_have_a_derived_folder(folder: Path) -> None:
    with pytest.raises(ValueError, match="no derived folder"):
        derived_directory(resolve(str(folder)))


def test_the_cache_lies_where_the_setting_or_the_system_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_directory() == tmp_path / "cache"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GPTAPPS_CACHE", "~/models")
    assert cache_directory() == tmp_path / "models"
    monkeypatch.delenv("GPTAPPS_CACHE")
    assert cache_directory() == platformdirs.user_cache_path("gptapps")


@pytest.mark.parametrize("name", PACKAGED_MODELS)
def test_the_catalogue_is_consistent(name: str) -> None:
    model = PACKAGED_MODELS[name]
    assert model.name == name
    assert sum(part.size for part in model.parts) == model.size
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in (model.sha256, *(p.sha256 for p in model.parts)))
    assert len({part.package for part in model.parts}) == len(model.parts)


def test_what_the_catalogue_promises() -> None:
    assert next(iter(PACKAGED_MODELS)) == DEFAULT_MODEL
    assert not PACKAGED_MODELS[DEFAULT_MODEL].needs_acceptance
    gemma = PACKAGED_MODELS["gemma-3-270m"]
    assert gemma.needs_acceptance
    assert gemma.licence_url == "https://ai.google.dev/gemma/terms"
    assert {"translation", "chinese"} <= set(gemma.capabilities)
    assert not {"translation", "chinese"} & set(PACKAGED_MODELS[DEFAULT_MODEL].capabilities)
