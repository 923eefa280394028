"""Names and what they stand for: lazy, unique, suggested when misspelt, mended when a plug-in is not."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from importlib.metadata import Distribution, EntryPoint, PathDistribution
from pathlib import Path
from typing import Any

import pytest

from gptapps import registry
from gptapps.errors import DuplicateNameError, GPTAppsError, UnknownNameError
from gptapps.registry import HEADS, METRICS, PIPELINES, Registry, suggestion

BUILTIN = {"floor": "math:floor", "ceil": "math:ceil", "broken": "no_such_module:thing"}


@pytest.fixture
def roundings() -> Registry:
    """A registry of functions of the standard library, without plug-ins."""
    return Registry("rounding", "gptapps.no_such_group", BUILTIN)


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Registry]:
    """Return a maker of registries that see plug-ins: distribution -> {name: value}."""

    def make(**distributions: dict[str, str]) -> Registry:
        points = [
            EntryPoint(name, value, "gptapps.roundings")._for(_distribution(tmp_path, distribution))  # type: ignore[attr-defined]
            for distribution, entries in distributions.items()
            for name, value in entries.items()
        ]
        monkeypatch.setattr(
            registry.metadata, "entry_points", lambda group: points if group == "gptapps.roundings" else []
        )
        return Registry("rounding", "gptapps.roundings", BUILTIN)

    return make


def _distribution(folder: Path, name: str) -> Distribution:
    home = folder / f"{name}-1.0.dist-info"
    home.mkdir(exist_ok=True)
    (home / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    return PathDistribution(home)


@pytest.mark.parametrize("known", [HEADS, PIPELINES, METRICS], ids=lambda known: known.kind)
def test_every_built_in_entry_can_be_loaded(known: Registry) -> None:
    assert known.names()
    for name in known.names():
        assert callable(known.get(name))


def test_names_are_sorted_and_gets_are_the_same_object(roundings: Registry) -> None:
    assert roundings.names() == ("broken", "ceil", "floor")
    assert roundings.get("floor") is roundings.get("floor")


def test_nothing_is_imported_before_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gptapps_test_lazy.py").write_text("thing = object()")
    monkeypatch.syspath_prepend(str(tmp_path))
    lazy = Registry("thing", "gptapps.no_such_group", {"lazy": "gptapps_test_lazy:thing"})
    assert lazy.names() == ("lazy",)
    assert "gptapps_test_lazy" not in sys.modules
    thing = lazy.get("lazy")
    assert thing is sys.modules.pop("gptapps_test_lazy").thing


def test_an_object_or_a_path_can_be_registered_and_forgotten(roundings: Registry) -> None:
    thing = object()
    roundings.register("own", thing)
    roundings.register("trunc", "math:trunc")
    assert (roundings.get("own"), roundings.get("trunc")) == (thing, math.trunc)
    roundings.unregister("own")
    assert "own" not in roundings.names()
    roundings.register("own", thing)  # free again


@pytest.mark.parametrize(
    ("action", "name", "expected"),
    [
        ("get", "flor", "There is no rounding 'flor'. Did you mean 'floor'? Known: broken, ceil, floor."),
        ("get", "zzz", "There is no rounding 'zzz'. Known: broken, ceil, floor."),
        ("unregister", "ceill", "There is no rounding 'ceill'. Did you mean 'ceil'? Known: broken, ceil, floor."),
    ],
)
def test_an_unknown_name_suggests_the_nearest(roundings: Registry, action: str, name: str, expected: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        getattr(roundings, action)(name)
    assert str(caught.value) == expected


def test_a_taken_name_is_refused_with_both_origins(roundings: Registry) -> None:
    roundings.register("own", 1, origin="my module")
    with pytest.raises(DuplicateNameError, match="'own' of another module is registered already, by my module"):
        roundings.register("own", 2, origin="another module")
    with pytest.raises(
        DuplicateNameError, match=r"'floor' of a call of register\(\) is registered already, by gptapps"
    ):
        roundings.register("floor", 2)
    assert roundings.get("own") == 1


def test_plugins_are_names_like_any_other(plugins: Callable[..., Registry]) -> None:
    roundings = plugins(first={"round": "builtins:round"}, second={"trunc": "math:trunc"})
    assert roundings.names() == ("broken", "ceil", "floor", "round", "trunc")
    assert roundings.get("trunc") is math.trunc


@pytest.mark.parametrize(
    ("distributions", "expected"),
    [
        (
            {"thief": {"floor": "math:trunc"}},
            "'floor' of the distribution 'thief' is registered already, by gptapps",
        ),
        (
            {"first": {"fine": "math:trunc", "same": "math:trunc"}, "second": {"same": "math:trunc"}},
            "'same' of the distribution 'second' is registered already, by the distribution 'first'",
        ),
    ],
)
def test_a_plugin_that_takes_a_name_is_refused_each_time_with_both_origins(
    plugins: Callable[..., Registry], distributions: dict[str, dict[str, str]], expected: str
) -> None:
    roundings = plugins(**distributions)
    for _ in range(2):
        with pytest.raises(DuplicateNameError, match=expected):
            roundings.names()
        with pytest.raises(DuplicateNameError, match=expected):
            roundings.get("ceil")


def test_what_cannot_be_loaded_names_its_origin(roundings: Registry) -> None:
    with pytest.raises(
        GPTAppsError, match=r"'broken' of gptapps can't be loaded from 'no_such_module:thing'.*No module"
    ):
        roundings.get("broken")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", "AttributeError: module '.*' has no attribute 'thing'"),
        ("thing = 1 / 0", "ZeroDivisionError: division by zero"),
        ("thing =", "SyntaxError: invalid syntax"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_a_plugins_broken_module_is_one_sentence(
    plugins: Callable[..., Registry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, expected: str
) -> None:
    module = f"gptapps_test_{tmp_path.name}"  # an imported name lives on: each test has its own
    (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    roundings = plugins(careless={"thing": f"{module}:thing"})
    assert "thing" in roundings.names()
    sentence = rf"'thing' of the distribution 'careless' can't be loaded from '{module}:thing' \({expected}.*\): mend"
    with pytest.raises(GPTAppsError, match=sentence) as caught:
        roundings.get("thing")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_threads_that_ask_at_once_get_the_same_object(plugins: Callable[..., Registry]) -> None:
    roundings = plugins(first={"exact": "decimal:Decimal"})
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(roundings.get("exact"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("sumarize", ["summarize", "score"], " Did you mean 'summarize'?"),
        ("x", ["summarize"], ""),
        ("summarize", [], ""),
        ("scores", iter(["summarize", "score"]), " Did you mean 'score'?"),
    ],
)
def test_a_suggestion_is_near_or_absent(name: str, known: Any, expected: str) -> None:
    assert suggestion(name, known) == expected
