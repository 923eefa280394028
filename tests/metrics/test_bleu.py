from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from gptapps.errors import DataError, OptionError
from gptapps.metrics.bleu import Bleu, Chrf, Ter, bleu, chrf, ter

METRICS = {"bleu": bleu, "chrf": chrf, "ter": ter}
every_metric = pytest.mark.parametrize("name", sorted(METRICS))

WORDS = ["The", "little", "red", "boat", "boat,", "sails", "slowly", "home.", "home", "(again)", "42", "d'or"]
english = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
chinese = st.text("床前明月光疑是地上霜举头望，。abc 12", max_size=14)


def oracle(name: str, language: str) -> Any:
    """The sacrebleu metric that its documentation advises for the language."""
    chinese_text = language == "zh"
    return {
        "bleu": lambda: sacrebleu.BLEU(trg_lang=language, force=True),
        "chrf": sacrebleu.CHRF,
        "ter": lambda: sacrebleu.TER(normalized=chinese_text, asian_support=chinese_text),
    }[name]()


@every_metric
@pytest.mark.parametrize(("language", "text"), [("en", english), ("zh", chinese)])
@given(data=st.data())
def test_values_are_sacrebleu_s_with_one_or_several_references(
    name: str, language: str, text: st.SearchStrategy[str], data: st.DataObject
) -> None:
    drawn = data.draw(st.lists(st.tuples(text, text, st.none() | text), min_size=1, max_size=8))
    predictions = [p for p, _, _ in drawn]
    references = [[r] if other is None else [r, other] for _, r, other in drawn]
    streams = [[r for _, r, _ in drawn], [other for _, _, other in drawn]]
    expected = oracle(name, language).corpus_score(predictions, streams).score
    score = METRICS[name](predictions, references, language=language, resamples=10)
    assert score.value == pytest.approx(expected, rel=1e-14)
    assert score.value >= 0
    if name != "ter":
        assert score.value <= 100 + 1e-9


@every_metric
@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The little red boat sails home."),
        ("zh-Hans", "举头望明月，低头思故乡。"),
        ("ru", "Выхожу один я на дорогу."),
    ],
)
def test_identical_text_is_perfect(name: str, language: str, text: str) -> None:
    score = METRICS[name]([text, text], [text, ["another one", text]], language=language)
    perfect = 0 if name == "ter" else pytest.approx(100)
    assert (score.value, score.low, score.high) == (perfect, perfect, perfect)


def test_chinese_is_compared_by_character() -> None:
    prediction, reference = ["今天的天气真好啊"], ["今天的天气非常好"]
    assert bleu(prediction, reference, language="zh").value > 40
    assert bleu(prediction, reference, language="en").value == 0
    assert ter(prediction, reference, language="zh").value == pytest.approx(100 * 3 / 8)
    assert ter(prediction, reference, language="en").value == 100


def test_the_signature_is_sacrebleu_s() -> None:
    version = sacrebleu.__version__
    assert bleu(["a"], ["a"], language="zh").signature.startswith(
        f"bleu|lang:zh|nrefs:1|case:mixed|eff:no|tok:zh|smooth:exp|sacrebleu:{version}|n:1|"
    )
    assert "|nrefs:var|" in chrf(["a", "b"], [["a", "b"], ["c"]]).signature
    assert "|nrefs:2|case:lc|tok:tercom|norm:no|punct:yes|asian:no|" in ter(["a"], [["a", "b"]]).signature


def test_options_are_sacrebleu_s() -> None:
    prediction, reference = ["the LITTLE red boat, sailing"], ["The little red boat, sails"]
    pairs = [
        (Bleu(tokenizer="char"), sacrebleu.BLEU(tokenize="char")),
        (Bleu(lowercase=True), sacrebleu.BLEU(lowercase=True)),
        (Chrf(word_order=2, name="chrf++"), sacrebleu.CHRF(word_order=2)),
        (Chrf(lowercase=True), sacrebleu.CHRF(lowercase=True)),
        (Ter(lowercase=False), sacrebleu.TER(case_sensitive=True)),
    ]
    for ours, theirs in pairs:
        expected = theirs.corpus_score(prediction, [reference]).score
        assert ours(prediction, reference, resamples=0).value == expected
        assert str(theirs.get_signature()).rsplit("|", 1)[0] in ours(prediction, reference).signature


def test_unknown_options_are_refused() -> None:
    with pytest.raises(OptionError, match=r"There is no BLEU tokenizer '13b'\. Did you mean '13a'\?"):
        Bleu(tokenizer="13b")
    with pytest.raises(OptionError, match="word_order can't be negative"):
        Chrf(word_order=-1)


@pytest.mark.parametrize(
    ("language", "module", "extra"), [("ja", "MeCab", r"sacrebleu\[ja\]"), ("ko", "mecab_ko", r"sacrebleu\[ko\]")]
)
def test_a_tokenizer_that_is_not_installed_is_named_with_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, language: str, module: str, extra: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else found(name))
    with pytest.raises(OptionError, match=rf"^BLEU of '{language}' needs .*: run pip install '{extra}', or score"):
        bleu(["a"], ["a"], language=language)
    assert chrf(["猫が好き"], ["猫が好き"], language=language).value == 100


@pytest.mark.parametrize(
    ("language", "module", "prediction", "reference"),
    [
        ("ja", "MeCab", "猫が庭で静かに眠っている。", "猫は庭で静かに眠っています。"),
        ("ko", "mecab_ko", "고양이가 정원에서 조용히 자고 있다.", "고양이는 정원에서 조용히 자고 있어요."),
    ],
)
def test_mecab_tokenizers_are_used_where_they_are_installed(
    language: str, module: str, prediction: str, reference: str
) -> None:
    pytest.importorskip(module)
    expected = sacrebleu.BLEU(trg_lang=language).corpus_score([prediction], [[reference]])
    score = bleu([prediction], [reference], language=language)
    assert score.value == expected.score
    assert f"|tok:{language}-mecab" in score.signature


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (["a", 2], ["a", "b"], r"^Prediction 2 is int"),
        (["a", "b"], ["a", ()], r"^Reference 2 is empty: this metric needs at least one text\.$"),
    ],
)
def test_what_is_no_text_is_told_with_its_place(predictions: list[Any], references: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        bleu(predictions, references)


def test_many_sentences_that_look_tokenized_bring_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    bleu(["a small boat ."] * 150, ["a small boat ."] * 150)
    assert not caplog.records


def without_every_fifth(text: str) -> str:
    """A translation with mistakes: every fifth character is missing."""
    return "".join(character for i, character in enumerate(text) if i % 5)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "limit", "copied"),
    [
        ("multi30k_en-de/test", 500, True),
        ("wmt14_en-fr/test", 200, True),
        ("wmt19_en-zh/test", 200, False),
        ("manythings_en-zh/test", 500, False),
        ("tatoeba_zh-en/test", 500, False),
        ("tatoeba_zh-en/test", 500, True),
        ("multi30k_en-fr/test", 200, True),
        ("wmt14_en-de/test", 100, True),
        ("wmt19_zh-en/test", 100, False),
        ("tatoeba_de-en/test", 200, False),
        ("tatoeba_fr-en/test", 200, True),
    ],
)
def test_real_data_scores_as_on_sacrebleu_s_command_line(
    read_rows: Callable[..., Any], tmp_path: Path, name: str, limit: int, copied: bool
) -> None:
    rows = read_rows(f"translation/{name}", limit)
    language = rows[0]["target_lang"]
    references = [row["target"] for row in rows]
    predictions = [row["source"] if copied else without_every_fifth(row["target"]) for row in rows]
    for file, lines in (("reference", references), ("prediction", predictions)):
        (tmp_path / file).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    command = [sys.executable, "-m", "sacrebleu", "reference", "-i", "prediction", "-w", "14", "-m", *METRICS]
    if language == "zh":
        command += ["-tok", "zh", "--ter-normalized", "--ter-asian-support"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    expected = {row["name"]: row["score"] for row in json.loads(printed)}
    scores = {key: metric(predictions, references, language=language, resamples=0) for key, metric in METRICS.items()}
    assert round(scores["bleu"].value, 14) == expected["BLEU"]
    assert round(scores["chrf"].value, 14) == expected["chrF2"]
    assert round(scores["ter"].value, 14) == expected["TER"]


@pytest.mark.data
def test_several_references_score_as_in_sacrebleu(read_rows: Callable[..., Any]) -> None:
    rows = read_rows("summarization/dialogsum/test", 60)
    references = [row["summaries"] for row in rows]
    predictions = [without_every_fifth(texts[0]) for texts in references]
    streams = [list(stream) for stream in zip(*references, strict=True)]
    assert len(streams) == 3
    for name, metric in METRICS.items():
        expected = oracle(name, "en").corpus_score(predictions, streams).score
        assert metric(predictions, references, resamples=0).value == pytest.approx(expected, rel=1e-14)
