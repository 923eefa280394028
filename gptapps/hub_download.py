"""A model by hub id, through huggingface_hub: its cache, its tokens, its mirrors.

Only files that gptapps reads are fetched: no pickles, and no second copy of the weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gptapps.cache_files import is_disk_full
from gptapps.errors import GPTAppsError, ModelFetchError, ModelNotFoundError, ResourceError
from gptapps.wheel_download import Progress

WANTED_FILES = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "*.jinja",
    "*.model",
)
# Subfolders and "consolidated" files hold the same weights once more, in the layout of another library.
_UNWANTED_FILES = ("*/*", "consolidated*")


def snapshot(
    name: str, *, revision: str | None = None, offline: bool = False, progress: Progress | None = None
) -> Path:
    """Return the folder of the hub model ``name`` in the hub's cache, fetching what is missing.

    Args:
        name: hub id, ``"org/name"``.
        revision: branch, tag or commit; the default branch where none is given.
        offline: take what the cache holds, ask nobody.
        progress: called with the bytes of all files together, from the threads that fetch them.

    Raises:
        ModelNotFoundError: no such model or revision.
        ModelFetchError: not allowed (offline, gated) or not reachable.
        ResourceError: the disk is full.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=list(WANTED_FILES),
                ignore_patterns=list(_UNWANTED_FILES),
                local_files_only=offline,
                tqdm_class=_bar_class(name, progress),
            )
        )
    except Exception as error:  # the transport library's own errors differ from release to release
        raise _translated(error, name, revision, offline) from error


def _translated(error: Exception, name: str, revision: str | None, offline: bool) -> GPTAppsError:
    from huggingface_hub import errors

    which = f"hub model {name!r}" + (f" at revision {revision!r}" if revision else "")
    if is_disk_full(error):
        return ResourceError(
            f"The disk that holds the hub's cache is full, so the {which} can't be fetched: make room there, "
            "or set HF_HOME to a folder on another disk."
        )
    match error:
        case errors.GatedRepoError():
            return ModelFetchError(
                f"Access to the {which} is restricted: ask for it on the model's page, then log in with "
                "`hf auth login`."
            )
        case errors.RepositoryNotFoundError():
            return ModelNotFoundError(
                f"The hub has no model {name!r} that you may see: check the spelling, or log in with "
                "`hf auth login` if it is private."
            )
        case errors.RevisionNotFoundError():
            return ModelNotFoundError(
                f"The hub model {name!r} has no revision {revision!r}: name one of its branches, tags or commits."
            )
        case errors.HFValidationError():
            return ModelNotFoundError(f"{name!r} is no hub id: one looks like 'Qwen/Qwen3-0.6B'.")
        case errors.LocalEntryNotFoundError() if offline:
            return ModelFetchError(
                f"The {which} is not in the hub's cache, or not all of it, and nothing may be fetched "
                "(--offline, GPTAPPS_OFFLINE or HF_HUB_OFFLINE is set): run "
                f"`gptapps models pull {name}` with a network and without that setting."
            )
    reason = str(error).strip().split("\n")[0].removeprefix("Got: ").rstrip(".") or type(error).__name__
    return ModelFetchError(
        f"The {which} could not be fetched ({reason}): check the network, then run "
        f"`gptapps models pull {name}`; what was fetched already is kept."
    )


def _bar_class(name: str, progress: Progress | None) -> type[Any]:
    from huggingface_hub.utils import tqdm as hub_bar  # type: ignore[attr-defined]  # public, but not in __all__

    most = 0

    class SilentBar(hub_bar):
        def __init__(self, *args: Any, **options: Any) -> None:
            self._counts_bytes = options.get("unit") == "B"
            super().__init__(*args, **(options | {"disable": True}))  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:  # a disabled bar does not count by itself
            nonlocal most
            self.n += n or 0
            # Two bars count the same bytes, arriving and written: whichever is ahead speaks.
            if progress is not None and self._counts_bytes and self.n > most:
                most = int(self.n)
                progress(f"Fetching {name}", most, max(most, int(self.total or 0)))

    return SilentBar
