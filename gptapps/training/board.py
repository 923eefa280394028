"""TensorBoard logs, where TensorBoard is installed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LOGGER = logging.getLogger("gptapps")


class Board:
    """Writes numbers for TensorBoard.

    Args:
        folder: for the logs; None writes none.
        update: where the training goes on; what an earlier process logged beyond it is taken back.
    """

    def __init__(self, folder: Path | None, update: int) -> None:
        self._writer: Any = None
        if folder is None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            _LOGGER.info("TensorBoard isn't installed, so nothing is logged for it: pip install 'gptapps[train]'.")
            return
        self._writer = SummaryWriter(str(folder), purge_step=update + 1)

    def add(self, kind: str, update: int, values: Mapping[str, float]) -> None:
        """Log numbers of an update, each under ``kind/name``."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{kind}/{name}", value, update)

    def close(self) -> None:
        """Write what isn't written yet."""
        if self._writer is not None:
            self._writer.close()
