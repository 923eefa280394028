"""Weights that took work to make, kept as a file that is mapped into memory the next time.

The file holds float32 tensors by our names, so nothing is joined, converted or copied on the way in. It is
written aside under a lock and moved into place, so a reader sees a whole one or none.
"""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from gptapps.backbone.checkpoint import config_from_values, config_values
from gptapps.backbone.safetensors_files import SafetensorsSource, is_disk_full, write_safetensors
from gptapps.backbone.weights import Weights, tensor_shapes
from gptapps.errors import CheckpointError, ModelError, ResourceError

FILE = "weights.safetensors"
_VERSION = "1"
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)

_log = logging.getLogger("gptapps")


def cached_weights(directory: Path, make: Callable[[], Weights]) -> Weights:
    """Return the weights kept in ``directory``, made and kept first where they aren't.

    Args:
        directory: created where it is absent. Where it can't be written, the weights are made each time.
        make: returns the weights.

    Raises:
        ResourceError: the disk is full.
        ModelError: what ``make`` raises.
    """
    kept = _read(directory / FILE)
    if kept is not None:
        return kept
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(directory / f"{FILE}.lock"):
            kept = _read(directory / FILE)  # another process may have been first
            if kept is not None:
                return kept
            for stale in directory.glob(f".{FILE}.*.partial"):  # of a process that was killed
                stale.unlink(missing_ok=True)
            made = make()
            metadata = {"version": _VERSION, "config": json.dumps(config_values(made.config))}
            write_safetensors(directory / FILE, made.tensors, metadata)
    except OSError as error:
        if is_disk_full(error):
            raise ResourceError(f"The disk is full: {directory} can't keep the model's weights.") from error
        if error.errno not in _NOT_WRITABLE:
            raise
        _log.debug("%s can't be written, so nothing is kept there: %s", directory, error)
        return make()
    return _read(directory / FILE) or made


def _read(file: Path) -> Weights | None:
    if not file.is_file():
        return None
    try:
        source = SafetensorsSource(str(file), [file])
        if source.metadata.get("version") != _VERSION:
            return None
        config = config_from_values(json.loads(source.metadata["config"]), str(file))
        if {name: source.shape(name) for name in source.names()} != tensor_shapes(config):
            raise CheckpointError(f"{file} holds other tensors than its configuration says.")
        return Weights(config, {name: source.read(name) for name in source.names()})
    except (ModelError, KeyError, json.JSONDecodeError) as error:
        _log.warning("%s is damaged and will be made again: %s", file, error)
        return None
