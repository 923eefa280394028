"""Tiny models, each made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from tiny_models import TinyModel, make_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TinyModel]:
    """Return the tiny model of a case by its name."""
    made: dict[str, TinyModel] = {}

    def model_of(name: str) -> TinyModel:
        if name not in made:
            made[name] = make_tiny(name, tmp_path_factory.mktemp(name))
        return made[name]

    return model_of


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    """Run without gradients, as inference does."""
    with torch.no_grad():
        yield
