"""Pre-training from text to folder."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from gptapps.backbone.mask_embedding import install_mask
from gptapps.backbone.safetensors_files import read_json
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.masked_model import MaskedModel
from gptapps.errors import OptionError
from gptapps.evaluation.manifest import Manifest
from gptapps.tokenization.tokenizer import Tokenizer
from gptapps.training.carrier import accelerator
from gptapps.training.loop import Trainer
from gptapps.training.loss import TargetLoss
from gptapps.training.pretraining.blocks import BlockUpdates
from gptapps.training.pretraining.corpus import Corpus, read_corpus
from gptapps.training.pretraining.folder import METRICS, SAMPLES, TRAINING, write_pretrained
from gptapps.training.pretraining.initial import new_mask, new_model
from gptapps.training.pretraining.objectives import Masked, NextToken, Objective
from gptapps.training.pretraining.options import VOCABULARY_SIZE
from gptapps.training.pretraining.plan import (
    Choices,
    PretrainPlan,
    checked_choices,
    pretrain_manifest,
    require_memory,
)
from gptapps.training.pretraining.report import PretrainReport
from gptapps.training.pretraining.samples import continued, filled, write_samples
from gptapps.training.pretraining.sizes import config_of, parameters_of
from gptapps.training.pretraining.token_store import TokenStore, ends_of, kept_tokens, token_sizes
from gptapps.training.pretraining.vocabulary import kept_tokenizer, known_tokenizer, trained_tokenizer
from gptapps.training.processes import leads, wait_until
from gptapps.training.recipe import Evaluation, Learned
from gptapps.training.work_folder import WorkFolder, joined_work_folder, open_work_folder, require_same, work_path

_TRAINING = "training"


def train(plan: PretrainPlan) -> PretrainReport:
    """Carry a plan out, or go on where the same plan was interrupted; see :func:`gptapps.pretrain`."""
    choices = checked_choices(plan)
    output = plan.output.expanduser().absolute()
    if output.exists() and not _is_finished(output) and (not output.is_dir() or any(output.iterdir())):
        raise OptionError(f"{output} holds something else than a pre-trained model: name a new folder as output.")
    known = None if plan.tokenizer is None else known_tokenizer(plan.tokenizer)
    most = choices.options.get("vocabulary_size", VOCABULARY_SIZE) if known is None else known.vocabulary_size
    require_memory(plan, choices, config_of(choices.size, most))
    corpus = read_corpus(plan.data, plan.validation, column=plan.column, limit=plan.limit, seed=plan.seed)
    manifest = pretrain_manifest(plan, choices, corpus, known, most)
    if _is_finished(output):
        return _finished(output, manifest)
    if not leads():
        work = joined_work_folder(output)
        wait_until(lambda: _is_prepared(work))
        _Pretraining(plan, choices, corpus, known, manifest, work).learn()
        wait_until(lambda: _is_finished(output))
        return _finished(output, manifest)
    with open_work_folder(output, manifest) as work:
        report = _Pretraining(plan, choices, corpus, known, manifest, work).run(output)
        work.remove()
    return report


class _Pretraining:
    def __init__(
        self,
        plan: PretrainPlan,
        choices: Choices,
        corpus: Corpus,
        known: Tokenizer | None,
        manifest: Manifest,
        work: WorkFolder,
    ) -> None:
        self._plan, self._choices, self._corpus, self._manifest, self._work = plan, choices, corpus, manifest, work
        most = choices.options.get("vocabulary_size", VOCABULARY_SIZE)
        self._tokenizer = kept_tokenizer(
            work.path / "tokenizer", lambda: known or trained_tokenizer(corpus.train, most)
        )
        tokens = work.folder("tokens")
        self._train = kept_tokens(tokens / "train", corpus.train, self._tokenizer, plan.progress)
        self._validation = kept_tokens(tokens / "validation", corpus.validation, self._tokenizer, plan.progress)
        config = config_of(choices.size, self._tokenizer.vocabulary_size)
        self._parameters = parameters_of(config)
        start, ends = ends_of(self._tokenizer)
        self._ends = (start, *ends)
        backbone, head = new_model(config, plan.seed)
        self._objective: Objective = NextToken()
        if plan.objective == "masked":
            self._objective = Masked(config.vocabulary_size, self._ends)
            install_mask(backbone, new_mask(config, plan.seed))
        self._loss = TargetLoss(backbone, head, causal=self._objective.causal).to(choices.device)
        self._model = LanguageModel(plan.size, backbone, head, self._tokenizer)
        self._sizes = token_sizes(self._tokenizer)

    def run(self, output: Path) -> PretrainReport:
        """Learn, then write the folder."""
        learned = self.learn()
        report = PretrainReport(
            folder=output,
            size=self._plan.size,
            objective=self._plan.objective,
            shape=self._choices.size.numbers,
            parameters=self._parameters,
            tokens={"train": len(self._train.ids), "validation": len(self._validation.ids)},
            evaluations=learned.evaluations,
            best=learned.best or {},
            updates=len(learned.updates),
            seconds=round(learned.seconds, 1),
            signature=self._manifest.signature,
        )
        data = {
            "names": self._manifest.content["names"]["data"],
            "checksums": self._corpus.checksums,
            "texts": {"train": self._train.texts, "validation": self._validation.texts},
            "skipped": self._corpus.skipped,
        }
        probe = [int(one) for one in self._validation.ids[: self._choices.size.context]]
        write_pretrained(output, self._model, report, learned, data, self._manifest, self._folder, probe)
        return report

    def learn(self) -> Learned:
        """Train to the end, or from where an earlier run was killed."""
        settings, plan = self._choices.settings, self._plan
        carrier = accelerator(self._choices.device, settings.precision)
        learned = Trainer(
            module=self._loss,
            schedule=self._blocks(self._train, processes=carrier.num_processes),
            recipe=settings.recipe,
            carrier=carrier,
            folder=self._folder,
            identity={"training": self._manifest.signature, "processes": carrier.num_processes},
            evaluation=Evaluation(measure=self._measure, decides="loss", sign=-1, seen=self._sample),
            told=plan.progress,
            shard=settings.shard,
        ).run()
        self._loss.eval()
        return learned

    @property
    def _folder(self) -> Path:
        return self._work.folder(_TRAINING)

    def _blocks(self, store: TokenStore, processes: int = 1) -> BlockUpdates:
        settings = self._choices.settings
        return BlockUpdates(
            store.ids,
            self._objective,
            context=self._choices.size.context,
            blocks_per_update=settings.blocks_per_update,
            blocks_at_once=settings.blocks_at_once,
            epochs=settings.epochs,
            limit=settings.updates,
            seed=self._plan.seed,
            processes=processes,
        )

    @torch.no_grad()
    def _measure(self) -> Mapping[str, float]:
        nats = tokens = size = 0.0
        ends = torch.tensor(self._ends)
        for pack in self._blocks(self._validation).validation_packs(self._choices.settings.validation_tokens):
            pack.weights[torch.isin(pack.targets, ends)] = 0.0  # where a text ends is no part of it
            nats += float(self._loss(pack))
            tokens += float(pack.weights.sum())
            size += float(self._sizes[pack.targets.numpy()].sum())
        mean = nats / max(tokens, 1.0)
        values = {"loss": mean, "perplexity": math.exp(min(mean, 700.0))}  # exp(710) is no float
        if self._objective.causal:
            values["bits_per_byte"] = nats / math.log(2) / max(size, 1.0)
        return values

    @torch.no_grad()
    def _sample(self, row: Mapping[str, float]) -> None:
        if not leads():
            return
        settings = self._choices.settings
        if self._objective.causal:
            texts = continued(self._model, settings.prompts, settings.sample_tokens, self._plan.seed)
        else:
            masked = MaskedModel(self._model.backbone, self._loss.head, self._tokenizer)
            packs = self._blocks(self._validation).validation_packs(1)
            texts = filled(masked, next(packs))
        write_samples(self._folder / SAMPLES, row, texts)


def _is_prepared(work: WorkFolder) -> bool:
    """Return whether the first process has made everything that the others only read."""
    return (work.path / "tokens" / "validation").is_dir()


def _is_finished(output: Path) -> bool:
    return (output / TRAINING).is_file()


def _finished(output: Path, manifest: Manifest) -> PretrainReport:
    require_same(manifest, read_json(output / TRAINING), f"The model in {output}")
    shutil.rmtree(work_path(output), ignore_errors=True)  # a kill may have come between the folder and this
    return PretrainReport.from_dict(read_json(output / METRICS), output)
