"""A training from data to folder: everything that is the same whatever the method."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gptapps.backbone.safetensors_files import read_json
from gptapps.cache_files import new_folder
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.trained_loading import base_of
from gptapps.errors import OptionError
from gptapps.evaluation.manifest import Manifest, runtime, task_identity
from gptapps.metrics.score import Score, installed_version
from gptapps.model_store import DEFAULT_MODEL
from gptapps.pipelines.base import Pipeline, Setup
from gptapps.pipelines.factory import set_threads
from gptapps.pipelines.trained import pipeline_kind
from gptapps.pipelines.writing import require_room
from gptapps.trained_model import Base, is_trained_model, write_mark
from gptapps.training.augmentation import BACK_TRANSLATION, Translate, augmented, require_changeable, translator
from gptapps.training.class_weights import require_class_weights
from gptapps.training.data import TrainingData
from gptapps.training.doctor import diagnose
from gptapps.training.gradient_options import token_limit
from gptapps.training.loaded_again import require_same_predictions
from gptapps.training.measuring import Measured, baselines_on, fitted_pipeline, kept, measure, trained_pipeline
from gptapps.training.methods import Fitted, Job
from gptapps.training.model_card import model_card
from gptapps.training.plan import Choices, TrainingPlan, checked_choices, data_plan
from gptapps.training.processes import leads, wait_until
from gptapps.training.report import FinetuneReport, scores_as_json, scores_from_json
from gptapps.training.rounds import Round, Rounds
from gptapps.training.trained_definition import trained_definition
from gptapps.training.work_folder import WorkFolder, joined_work_folder, open_work_folder, require_same, work_path

METRICS, DATA, CARD, TRAINING = "metrics.json", "data.json", "README.md", "training.json"
_CHECKED = 32  # predictions that are compared after loading again
_LIBRARIES = ("scikit-learn", "scipy", "accelerate")  # that fit or carry what is learned, besides those that predict
_LOADING = ("device", "dtype", "low_memory", "revision", "offline", "progress")


def train(plan: TrainingPlan) -> FinetuneReport:
    """Carry a plan out, or go on where the same plan was interrupted; see :func:`gptapps.finetune`."""
    choices = checked_choices(plan)
    output = Path(plan.output).expanduser().absolute()
    _require_free(output)
    given = choices.setup
    loading = {name: given[name] for name in _LOADING if name in given}
    fetching = {name: given[name] for name in ("revision", "offline", "progress") if name in given}
    name = given.get("model", DEFAULT_MODEL)
    diagnosis = diagnose(
        data_plan(plan, choices.of_calls),
        model=name if isinstance(name, LanguageModel) else str(name),
        limit=token_limit(choices.method, choices.of_method),
        **fetching,
    )
    if plan.on_diagnosis is not None:
        plan.on_diagnosis(diagnosis)
    data = diagnosis.require()
    require_class_weights(choices.of_method.get("class_weights", "none"), data.evaluator.kind)
    rounds = Rounds(plan, data, stops_early=getattr(choices.method, "stops_early", False))
    if plan.augment:
        require_changeable(data.train)
    if "threads" in given:
        set_threads(given["threads"])
    model = name if isinstance(name, LanguageModel) else LanguageModel.load(str(name), **loading)
    if model.trained is not None and model.trained.base is not None:
        raise OptionError(
            f"{model.name!r} is what an earlier training left on {model.trained.base.name!r}: name that as the model."
        )
    require_room(model, data.options.get("max_new_tokens") or 0)  # told now, and not by the first evaluation
    translate, identity = None, None
    if BACK_TRANSLATION in plan.augment and plan.translator is not None:
        translating = {name: loading[name] for name in ("device", "offline", "progress") if name in loading}
        translate, identity = translator(plan.translator, **translating)
    manifest = _manifest(plan, choices, data, model, identity)
    if is_trained_model(output):
        return _finished(output, manifest)
    if not leads():
        _Training(plan, choices, data, model, manifest, joined_work_folder(output), rounds, translate, loading).join()
        wait_until(lambda: is_trained_model(output))
        return _finished(output, manifest)
    with open_work_folder(output, manifest) as work:
        report = _Training(plan, choices, data, model, manifest, work, rounds, translate, loading).run(output)
        work.remove()
    return report


class _Training:
    def __init__(
        self,
        plan: TrainingPlan,
        choices: Choices,
        data: TrainingData,
        model: LanguageModel,
        manifest: Manifest,
        work: WorkFolder,
        rounds: Rounds,
        translate: Translate | None,
        loading: Mapping[str, Any],
    ) -> None:
        self._plan, self._choices, self._data, self._work = plan, choices, data, work
        self._rounds, self._translate = rounds, translate
        self._manifest, self._loading = manifest, loading
        self._base = _base(model)
        self._definition = trained_definition(data)
        sizes = {name: choices.setup[name] for name in ("batch_size", "max_cache_bytes") if name in choices.setup}
        kind = pipeline_kind(self._definition)
        setup = Setup(**sizes, options=kept(kind, data.options))
        # Whatever the packaged model can't do, it may be about to learn.
        self._pipeline = kind(self._definition, replace(model, packaged=None), setup)

    def run(self, output: Path) -> FinetuneReport:
        """Train every round, then the model that is kept."""
        rounds = {one.name: self._scores(one) for one in self._rounds.several}
        kept_round = self._rounds.final
        fitted = self._fit(kept_round)
        served = fitted_pipeline(fitted, self._data.options, self._pipeline.setup)
        data = kept_round.data
        report = FinetuneReport(
            task=self._definition.id,
            method=self._plan.method,
            model=self._base.name,
            folder=output,
            examples={"train": len(data.train), "validation": len(data.validation)},
            measured=self._measured(served, data),
            rounds=rounds,
            details=fitted.details,
            signature=self._manifest.signature,
        )
        with new_folder(output) as folder:
            self._write(folder, fitted, report)
            examples = [item.example for item in (data.validation or data.train)[:_CHECKED]]
            # Both read the examples anew, in the same batches: what the training has read, it read in others.
            reading = trained_pipeline(fitted.definition, fitted.model, self._data.options, self._pipeline.setup)
            require_same_predictions(reading, str(folder), examples, self._loading)
        return report

    def _measured(self, served: Pipeline[Any, Any], data: TrainingData) -> Measured:
        """Return the scores on what the model didn't see; on folds alone, what the baselines reach on all of them."""
        if data.validation or self._plan.folds is None:
            return measure(served, data, data.validation, seed=self._plan.seed)
        return Measured(baselines=baselines_on(data, data.train, seed=self._plan.seed))

    def join(self) -> None:
        """Take part in what the first process learns, where the method shares its work."""
        if not getattr(self._choices.method, "many_processes", False):
            return
        for one in self._rounds.several:
            if self._work.result(one.name) is None:
                self._fit(one)
        self._fit(self._rounds.final)

    def _scores(self, one: Round) -> tuple[Score, ...]:
        known = self._work.result(one.name)
        if known is not None:
            return scores_from_json(known)
        served = fitted_pipeline(self._fit(one), self._data.options, self._pipeline.setup)
        measured = measure(served, one.data, one.data.validation, seed=self._plan.seed)
        self._work.keep(one.name, scores_as_json(measured.scores))
        return measured.scores

    def _fit(self, one: Round) -> Fitted:
        plan, data = self._plan, one.data
        if plan.augment:
            copied = augmented(data.train, plan.augment, seed=one.seed, copies=plan.copies, translate=self._translate)
            data = replace(data, train=copied)
        job = Job(
            definition=self._definition,
            pipeline=self._pipeline,
            data=data,
            options=self._choices.of_method,
            seed=one.seed,
            folder=self._work.folder(one.name),
            shared=self._work.shared,
            progress=plan.progress,
        )
        return self._choices.method.fit(job)

    def _write(self, folder: Path, fitted: Fitted, report: FinetuneReport) -> None:
        predicting = fitted.write(folder)
        data, versions = self._data.as_dict(), self._manifest.content["versions"]
        _write_json(folder / METRICS, report.as_dict())
        _write_json(folder / DATA, data)
        (folder / TRAINING).write_bytes(self._manifest.as_json())
        card = model_card(report, fitted.definition, data, versions)
        (folder / CARD).write_text(card, encoding="utf-8")
        write_mark(
            folder,
            method=self._plan.method,
            base=None if fitted.settings.get("whole") else self._base,
            definition=fitted.definition,
            settings=fitted.settings,
            predicting=predicting,
            versions=versions,
        )


def _manifest(
    plan: TrainingPlan,
    choices: Choices,
    data: TrainingData,
    model: LanguageModel,
    translator: Mapping[str, Any] | None,
) -> Manifest:
    base = base_of(model)
    decisive = {
        "names": {"model": base.name, "data": data.checksums["train"].name},
        "task": task_identity(trained_definition(data)),
        "model": {"sha256": base.sha256, "of": base.of},
        "data": _without_names(data.as_dict()),
        "method": plan.method,
        "options": dict(choices.of_method),
        "folds": plan.folds,
        "per_label": plan.per_label,
        "seeds": plan.seeds,
        "seed": plan.seed,
        "augment": {"ways": list(plan.augment), "copies": plan.copies, "translator": translator},
        **runtime(model),
    }
    decisive["versions"] |= {name: installed_version(name) for name in _LIBRARIES}
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Manifest.of(decisive, created=created, batch_size=choices.setup.get("batch_size", Setup().batch_size))


def _without_names(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return which data it is without where it lies: the same rows elsewhere are the same."""
    checksums = {name: one["sha256"] for name, one in data["checksums"].items()}
    share = data["validation"] if "validation" not in checksums else None
    plain = {key: value for key, value in data.items() if key not in ("train", "task", "seed")}
    return {**plain, "validation": share, "checksums": checksums}


def _base(model: LanguageModel) -> Base:
    base, path = base_of(model), Path(model.name).expanduser()
    return Base(str(path.absolute()), base.sha256, base.of) if model.packaged is None and path.exists() else base


def _require_free(output: Path) -> None:
    """Refuse a folder that holds something else than a trained model."""
    if output.exists() and not is_trained_model(output) and (not output.is_dir() or any(output.iterdir())):
        raise OptionError(f"{output} holds something else than a trained model: name a new folder as output.")


def _finished(output: Path, manifest: Manifest) -> FinetuneReport:
    require_same(manifest, read_json(output / TRAINING), f"The model in {output}")
    shutil.rmtree(work_path(output), ignore_errors=True)  # a kill may have come between the folder and this
    return FinetuneReport.from_dict(read_json(output / METRICS), output)


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
