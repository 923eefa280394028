"""``python -m benchmarks.quality``: writes down how good a model is on the suites; or prints a README's table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.finetuning.__main__ import RESULTS, environment
from benchmarks.quality.table import LANGUAGES, quality_table

SUITES = ("classification", "question_answering", "translation", "summarization", "language_modelling")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suites and write a JSON file, or print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--data-root", type=Path, help="where the data sets lie")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--suite", action="append", choices=SUITES, help="one; several times for several")
    parser.add_argument("--limit", action="append", default=[], metavar="SUITE=N", help="the most rows of its sets")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="run folders; what is finished isn't repeated")
    parser.add_argument("--output", type=Path, help="by default quality-MODEL-DATE.json among the results")
    parser.add_argument("--table", choices=LANGUAGES, help="print a README's table of the latest results instead")
    given = parser.parse_args(arguments)
    if given.table:
        sys.stdout.write(quality_table(latest_results(), given.table))
        return 0
    if given.data_root is None:
        parser.error("--data-root is missing: name the folder that holds the data sets")
    limits: dict[str, int] = {}
    for one in given.limit:
        suite, _, number = one.partition("=")
        if suite not in SUITES or not number.isdecimal() or int(number) < 1:
            parser.error(f"--limit takes SUITE=N with one of {', '.join(SUITES)}, not {one!r}")
        limits[suite] = int(number)
    entries = measured(given, limits)
    content = {"model": given.model, "threads": given.threads, "environment": environment(), "entries": entries}
    today = datetime.now(UTC).date().isoformat()
    output = given.output or RESULTS / f"quality-{Path(given.model).name}-{today}.json"
    if output.exists():  # other suites of the day
        names = {entry["entry"] for entry in entries}
        earlier = json.loads(output.read_text(encoding="utf-8"))["entries"]
        entries[:0] = [entry for entry in earlier if entry["entry"] not in names]
    output.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{output}\n")
    return 0 if all(entry["state"] != "failed" for entry in entries) else 1


def measured(given: argparse.Namespace, limits: dict[str, int]) -> list[dict[str, Any]]:
    """Return what became of each entry of the suites."""
    from gptapps.decoding.language_model import LanguageModel
    from gptapps.evaluation.bench import BenchSettings, run_suite, suite_table
    from gptapps.evaluation.suite import load_suite
    from gptapps.pipelines.factory import set_threads

    set_threads(given.threads)
    model = LanguageModel.load(given.model)
    entries = []
    for name in given.suite or SUITES:
        settings = BenchSettings(data_root=given.data_root, limit=limits.get(name), parent=given.runs)
        outcomes = list(run_suite(load_suite(name), model, settings))
        sys.stdout.write(f"{suite_table(outcomes, given.model)}\n\n")
        sys.stdout.flush()
        entries += [
            {
                "suite": name,
                "entry": outcome.entry,
                "limit": limits.get(name),
                "state": outcome.state,
                "reason": outcome.reason.replace(str(given.data_root), "the data root"),
                "report": None if outcome.report is None else outcome.report.as_dict(),
            }
            for outcome in outcomes
        ]
    return entries


def latest_results() -> list[dict[str, Any]]:
    """Return the latest results of each data set and packaged model, in the order of the READMEs' columns."""
    found = []
    for model in ("smollm2-135m-instruct", "gemma-3-270m"):
        files = sorted(RESULTS.glob(f"quality-{model}-*.json"))
        if not files:
            raise SystemExit(f"There are no results of {model} in {RESULTS}: measure first.")
        read = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        latest = {entry["entry"]: entry for one in read for entry in one["entries"]}
        found.append({**read[-1], "entries": list(latest.values())})
    return found


if __name__ == "__main__":
    sys.exit(main())
