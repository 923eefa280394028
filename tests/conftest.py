"""What every test may use: the real data, the real models, and as many threads as leave two cores to all workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from browsers import chromium_path
from hypothesis import HealthCheck, settings

if os.environ.get("GPTAPPS_TEST_ON_GPU") != "1":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the same tests on every machine
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")  # its default changes with Triton 3.10, and 3.9 warns

from gptapps.decoding.language_model import LanguageModel
from gptapps.model_store import DEFAULT_MODEL, pull, resolve

ROOT = Path(__file__).resolve().parent.parent
DATA_ROOT = Path(os.environ.get("GPTAPPS_DATA_ROOT", ROOT.parent / "shared" / "data"))

settings.register_profile(
    "gptapps", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("gptapps")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start, too
    torch.set_num_threads(1)
else:
    torch.set_num_threads(2)


# Marker -> whether what it needs is here, and why not.
NEEDED = {
    "data": (DATA_ROOT.is_dir(), f"no data sets at {DATA_ROOT}"),
    "browser": (chromium_path() is not None, "no chromium on the path"),
}


LONGEST = ("test_ahead_of_time.py", "test_gpu_benchmark.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what reads the real data sets, or looks at pages in a browser, where these are absent; the longest first."""
    items.sort(key=lambda item: item.path.name not in LONGEST)  # so that no worker is left alone with them at the end
    for name, (is_here, reason) in NEEDED.items():
        for item in items:
            if not is_here and item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests on real data, and in a real browser, ran."""
    for name, what in (("data", "on real data"), ("browser", "in a browser")):
        seen = {"passed": 0, "failed": 0, "skipped": 0}
        for outcome in seen:
            for report in terminalreporter.stats.get(outcome, []):
                seen[outcome] += name in report.keywords
        terminalreporter.write_line(
            f"tests {what}: {seen['passed']} passed, {seen['failed']} failed, {seen['skipped']} skipped"
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where what a test needs is there but the test was skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if any(is_here and any(name in report.keywords for report in skipped) for name, (is_here, _) in NEEDED.items()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data sets; tests that use it are marked ``data``."""
    return DATA_ROOT


@pytest.fixture(scope="session")
def default_gguf() -> Path:
    """The default model's file, fetched into the user's cache where it isn't there yet."""
    return resolve(DEFAULT_MODEL).path


@pytest.fixture(scope="session")
def default_model() -> LanguageModel:
    """The default model, loaded once."""
    return LanguageModel.load(DEFAULT_MODEL)


@pytest.fixture(scope="session")
def gemma_gguf() -> Path:
    """The Gemma file: where its terms were accepted, or ``GPTAPPS_TEST_ACCEPT_LICENCE`` names it."""
    if os.environ.get("GPTAPPS_TEST_ACCEPT_LICENCE") == "gemma-3-270m":
        return pull("gemma-3-270m", accept_licence=True).path
    try:
        return resolve("gemma-3-270m", offline=True).path
    except Exception as error:
        pytest.skip(f"gemma-3-270m is not in the cache: {error}")


@pytest.fixture(scope="session")
def gemma_model(gemma_gguf: Path) -> LanguageModel:
    """Gemma, loaded once."""
    return LanguageModel.load("gemma-3-270m")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of the test's own, empty."""
    monkeypatch.setenv("GPTAPPS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
