"""Rows of the real data sets, for the tests marked ``data``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Rows = list[dict[str, Any]]


@pytest.fixture
def read_rows(data_root: Path) -> Callable[..., Rows]:
    def read(name: str, limit: int | None = None) -> Rows:
        with (data_root / f"{name}.jsonl").open(encoding="utf-8") as lines:
            return [json.loads(line) for line, _ in zip(lines, range(limit or 10**9), strict=False)]

    return read
