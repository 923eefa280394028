"""Another distribution adds a task, a pipeline, a head and a metric: built, installed and used as a person would."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_language_model import write_tiny_model

from gptapps.decoding.language_model import LanguageModel

HERE = Path(__file__).resolve().parent
TASKS = "gptapps_politeness/tasks"

PROBE = """
import json, sys
from task_checks import check_task
from gptapps import pipeline
from gptapps.cli.app import run
from gptapps.registry import HEADS, METRICS, PIPELINES
from gptapps.task_catalog import resolve_task

model, own = sys.argv[1:]
rate = pipeline("politeness", model=model)
score = METRICS.get("mean_absolute_error")([0.5, 0.25], [1.0, 0.25])
print(json.dumps({
    "rating": rate("Please pass me the salt.").rating,
    "head is registered": type(rate.head) is HEADS.get("rating"),
    "pipeline is registered": type(rate) is PIPELINES.get("rating"),
    "score": [score.value, score.n, score.higher_is_better],
    "alias": resolve_task("manners").id,
    "names": [name in known.names() for known, name in ((HEADS, "language_model"), (METRICS, "accuracy"))],
}))
check_task(rate.definition, rate)
sys.exit(run([own, "--model", model, "--text", "Please pass me the salt.", "--json"]))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed the distribution."""
    source = tmp_path_factory.mktemp("plugin") / "source"
    shutil.copytree(HERE / "plugin_distribution", source, ignore=shutil.ignore_patterns("__pycache__"))
    target = source.parent / "site"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--target", target, source], check=True)
    return target


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, default_model: LanguageModel) -> Path:
    """The folder of a tiny model."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny"), default_model.tokenizer, context_length=256)


def python(*arguments: str | Path, path: tuple[Path, ...]) -> subprocess.CompletedProcess[str]:
    """Run Python with folders in front of those it would import from."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "OMP_NUM_THREADS": "1",  # a second thread only waits, with matrices this small
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def add_distribution(folder: Path, name: str, entry_points: str) -> Path:
    """Lay out what pip would leave of a distribution that has entry points and nothing else."""
    home = folder / f"{name}-1.0.dist-info"
    home.mkdir(parents=True)
    (home / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (home / "entry_points.txt").write_text(entry_points)
    return folder


def test_the_distribution_holds_its_definitions(site: Path) -> None:
    assert (site / TASKS / "politeness.toml").is_file()
    assert (site / TASKS / "sample.jsonl").is_file()


def test_its_task_is_listed_and_runs_by_name(site: Path, tiny: Path) -> None:
    listed = python("-m", "gptapps", "tasks", path=(site,))
    assert (listed.returncode, listed.stderr) == (0, "")
    assert re.search(r"^politeness +Rates how polite a text is\n +also: manners$", listed.stdout, re.MULTILINE)
    assert re.search(r"^summarize ", listed.stdout, re.MULTILINE)
    run = python("-m", "gptapps", "politeness", "--model", tiny, "--json", "--text", "Please.", path=(site,))
    assert (run.returncode, run.stderr) == (0, "")
    assert 0 < json.loads(run.stdout)["rating"] < 1


def test_its_parts_are_found_keep_the_contract_and_serve_other_definitions(
    site: Path, tiny: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.toml"
    own.write_text((site / TASKS / "politeness.toml").read_text(encoding="utf-8").replace("How polite", "How kind"))
    run = python("-c", PROBE, tiny, own, path=(site, HERE / "contract"))
    assert (run.returncode, run.stderr) == (0, "")
    found, by_path = map(json.loads, run.stdout.splitlines())
    rating = found.pop("rating")
    assert found == {
        "head is registered": True,
        "pipeline is registered": True,
        "score": [0.25, 2, False],
        "alias": "politeness",
        "names": [True, True],
    }
    assert 0 < by_path["rating"] < 1
    assert by_path["rating"] != rating


@pytest.mark.parametrize(
    ("entry_points", "expected"),
    [
        (
            "[gptapps.tasks]\nmanners = gptapps_politeness.tasks:politeness.toml\n",
            r"The task name 'politeness' is claimed twice, by the distribution '[\w-]+' \(.*politeness\.toml\) and by "
            r"the distribution '[\w-]+' \(.*politeness\.toml\): give one of the two another name\.",
        ),
        (
            "[gptapps.metrics]\naccuracy = gptapps_politeness.metric:mean_absolute_error\n",
            r"The metric 'accuracy' of the distribution 'copycat' is registered already, by gptapps: .*",
        ),
        (
            "[gptapps.heads]\nrating = gptapps_politeness.head:RatingHead\n",
            r"The head 'rating' of the distribution '[\w-]+' is registered already, by the distribution '[\w-]+': .*",
        ),
    ],
    ids=["task", "built-in metric", "head"],
)
def test_a_name_taken_twice_is_refused_with_both_origins(
    site: Path, tmp_path: Path, entry_points: str, expected: str
) -> None:
    run = python("-m", "gptapps", "tasks", path=(site, add_distribution(tmp_path, "copycat", entry_points)))
    assert (run.returncode, run.stdout) == (2, "")
    assert re.fullmatch(f"gptapps: {expected}\n", run.stderr)
    assert "'copycat'" in run.stderr
    assert "'gptapps-politeness'" in run.stderr or "by gptapps:" in run.stderr


@pytest.mark.parametrize(
    ("content", "entry_point", "expected"),
    [
        (
            'schema_version = 1\npipeline = "generation"\nsumary = "x"\nprompts.en.user = "{{ text }}"\n',
            "careless.tasks",
            r"The task definition .*careless/tasks/haiku\.toml has 2 mistakes: (?=.*'summary' is missing; add it)"
            r".*'sumary' is not a key there\. Did you mean 'summary'\?.*",
        ),
        (
            'schema_version = 1\npipeline = "poetry"\nsummary = "x"\nprompts.en.user = "{{ text }}"\n',
            "careless.tasks",
            r"The task definition .*careless/tasks/haiku\.toml names under 'pipeline' the pipeline 'poetry', which "
            r"nobody registered\..*",
        ),
        (
            "",
            "careless.tasks:sonnet.toml",
            r"There is no task definition .*careless/tasks/sonnet\.toml; check the path\.",
        ),
        (
            "",
            "careless.poems",
            r"The tasks of the distribution 'careless' can't be found, because 'careless\.poems' .*",
        ),
    ],
    ids=["unknown key", "unknown pipeline", "missing file", "missing package"],
)
def test_a_careless_plugin_is_refused_and_never_skipped(
    tmp_path: Path, content: str, entry_point: str, expected: str
) -> None:
    folder = tmp_path / "careless" / "tasks"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    (folder / "haiku.toml").write_text(content)
    add_distribution(tmp_path, "careless", f"[gptapps.tasks]\npoems = {entry_point}\n")
    run = python("-m", "gptapps", "tasks", path=(tmp_path,))
    assert (run.returncode, run.stdout) == (2, "")
    assert re.fullmatch(f"gptapps: {expected}\n", run.stderr)
