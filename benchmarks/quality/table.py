"""The READMEs' tables of quality, in English and in Chinese, made of the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LANGUAGES = ("en", "zh")

_ABSENT = "–"


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the table: one metric of one data set.

    Attributes:
        entry: the suite's name of the data set.
        title: what people call it.
        metric: the score's name.
        digits: decimal places.
        needs: what a model has to be able to do beyond English; said where it isn't.
    """

    entry: str
    title: str
    metric: str = "accuracy"
    digits: int = 3
    needs: str = ""


LINES = (
    _Line("sst2", "SST-2"),
    _Line("ag_news", "AG News"),
    _Line("chnsenticorp", "ChnSentiCorp", needs="chinese"),
    _Line("tnews", "TNEWS", needs="chinese"),
    _Line("mrpc", "MRPC"),
    _Line("rte", "RTE"),
    _Line("cola", "CoLA", "matthews"),
    _Line("boolq", "BoolQ"),
    _Line("arc_easy", "ARC-Easy"),
    _Line("openbookqa", "OpenBookQA"),
    _Line("commonsense_qa", "CommonsenseQA"),
    _Line("squad_v1", "SQuAD 1.1", "token_f1"),
    _Line("squad_v2", "SQuAD 2.0", "token_f1"),
    _Line("cmrc2018", "CMRC 2018", "token_f1", needs="chinese"),
    _Line("lambada", "LAMBADA", "greedy_accuracy"),
    _Line("wikitext2", "WikiText-2", "bits_per_byte"),
    _Line("wmt14_en-fr", "WMT14 en-fr", "bleu", 1, "translation"),
    _Line("wmt14_en-de", "WMT14 en-de", "bleu", 1, "translation"),
    _Line("wmt19_en-zh", "WMT19 en-zh", "bleu", 1, "translation"),
    _Line("wmt19_zh-en", "WMT19 zh-en", "bleu", 1, "translation"),
    _Line("multi30k_en-de", "Multi30k en-de", "bleu", 1, "translation"),
    _Line("multi30k_en-fr", "Multi30k en-fr", "bleu", 1, "translation"),
    _Line("xsum", "XSum", "rouge1"),
    _Line("cnn_dailymail", "CNN/DailyMail", "rouge1"),
    _Line("scitldr", "SciTLDR", "rouge1"),
    _Line("dialogsum", "DialogSum", "rouge1"),
    _Line("lcsts", "LCSTS", "rouge1", needs="chinese"),
)

_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "head": "data | metric | {models} | baseline",
        "chinese": "no Chinese",
        "translation": "can't translate",
        "failed": "failed",
        "accuracy": "accuracy",
        "greedy_accuracy": "accuracy",
        "matthews": "Matthews",
        "token_f1": "F1",
        "bits_per_byte": "bits/byte (less is better)",
        "bleu": "BLEU",
        "rouge1": "ROUGE-1",
        "majority_label": "majority label",
        "first_choice": "first choice",
        "longest_choice": "longest choice",
        "longest_name": "longest name",
        "nearest_sentence": "nearest sentence",
        "compression": "compression",
        "copy_source": "copy of the source",
        "lead_1": "first sentence",
        "lead_3": "first three sentences",
        "": "none",
    },
    "zh": {
        "head": "数据 | 指标 | {models} | 基线",
        "chinese": "不支持中文",
        "translation": "不能翻译",
        "failed": "失败",
        "accuracy": "准确率",
        "greedy_accuracy": "准确率",
        "matthews": "Matthews",
        "token_f1": "F1",
        "bits_per_byte": "每字节比特数（越低越好）",
        "bleu": "BLEU",
        "rouge1": "ROUGE-1",
        "majority_label": "多数标签",
        "first_choice": "第一个选项",
        "longest_choice": "最长选项",
        "longest_name": "最长名称",
        "nearest_sentence": "最近句子",
        "compression": "压缩",
        "copy_source": "照抄原文",
        "lead_1": "第一句",
        "lead_3": "前三句",
        "": "无",
    },
}


def quality_table(results: Sequence[Mapping[str, Any]], language: str) -> str:
    """Return the table in Markdown.

    Args:
        results: what was measured, a model each, in the order of the columns.
        language: ``"en"`` or ``"zh"``.
    """
    words = _WORDS[language]
    models = " | ".join(f"`{result['model']}`" for result in results)
    rows = [f"| {words['head'].format(models=models)} |", "|" + "---|" * (3 + len(results))]
    for line in LINES:
        entries = [_entry(result, line.entry) for result in results]
        cells = [_cell(entry, line, words) for entry in entries]
        rows.append(f"| {' | '.join([line.title, words[line.metric], *cells, _baselines(entries, line, words)])} |")
    return "\n".join(rows) + "\n"


def _entry(result: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next((entry for entry in result["entries"] if entry["entry"] == name), {"state": "absent", "report": None})


def _cell(entry: Mapping[str, Any], line: _Line, words: Mapping[str, str]) -> str:
    if entry["report"] is None:
        unable = entry["state"] == "not able" and line.needs
        return words[line.needs] if unable else words["failed"] if entry["state"] == "failed" else _ABSENT
    score = _score(entry["report"]["scores"], line.metric)
    return _ABSENT if score is None else f"{_interval(score, line.digits)} ({score['n']})"


def _baselines(entries: Sequence[Mapping[str, Any]], line: _Line, words: Mapping[str, str]) -> str:
    """Return the best baseline; where the models' samples differ, the best of each, with its number of examples."""
    found: dict[str, str] = {}
    for report in (entry["report"] for entry in entries if entry["report"] is not None):
        known = {name: _score(scores, line.metric) for name, scores in report["baselines"].items()}
        scored = {name: score for name, score in known.items() if score is not None}
        if scored:
            better = max if next(iter(scored.values()))["higher_is_better"] else min
            name = better(scored, key=lambda name: scored[name]["value"])
            found[f"{_interval(scored[name], line.digits)} {words[name]}"] = f" ({scored[name]['n']})"
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{text}{count}" for text, count in found.items()) or words[""]


def _score(scores: Sequence[Mapping[str, Any]], metric: str) -> Mapping[str, Any] | None:
    return next((score for score in scores if score["name"] == metric and score["value"] is not None), None)


def _interval(score: Mapping[str, Any], digits: int) -> str:
    bounds = [score[key] for key in ("low", "high")]
    between = "" if None in bounds else f" [{', '.join(f'{bound:.{digits}f}' for bound in bounds)}]"
    return f"{score['value']:.{digits}f}{between}"
