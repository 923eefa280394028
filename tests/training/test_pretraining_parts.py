"""The parts of pre-training: sizes, first weights, texts, tokens, blocks and what is hidden in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptapps.errors import DataError, OptionError, UnknownNameError
from gptapps.training.pretraining.blocks import BlockUpdates
from gptapps.training.pretraining.corpus import read_corpus
from gptapps.training.pretraining.initial import new_model
from gptapps.training.pretraining.objectives import Masked, NextToken
from gptapps.training.pretraining.sizes import SIZES, config_of, learning_rate_of, parameters_of, size_of
from gptapps.training.pretraining.token_store import ends_of, kept_tokens, token_sizes
from gptapps.training.pretraining.vocabulary import kept_tokenizer, trained_tokenizer

PUBLISHED = {
    "gpt-1": (40478, 116_534_784),
    "gpt-2-small": (50257, 124_439_808),
    "gpt-2-medium": (50257, 354_823_168),
    "gpt-2-large": (50257, 774_030_080),
    "gpt-2-xl": (50257, 1_557_611_200),
}
"""Size -> its vocabulary, and how many weights the published checkpoint has."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_have_as_many_weights_as_the_published_models(name: str) -> None:
    vocabulary, weights = PUBLISHED[name]
    assert parameters_of(config_of(size_of(name), vocabulary)) == weights


@pytest.mark.parametrize(("name", "billions"), [("gpt-3-6.7b", 6.7), ("gpt-3-13b", 13.0), ("gpt-3-175b", 175.0)])
def test_sizes_of_gpt_3(name: str, billions: float) -> None:
    assert parameters_of(config_of(size_of(name), 50257)) / 1e9 == pytest.approx(billions, rel=0.02)


def test_every_size_makes_a_configuration() -> None:
    for name in SIZES:
        config = config_of(size_of(name, layers=3), 1000)
        assert config.windows == ((None, 256, None) if name.startswith("gpt-3") else (None,) * 3)
        assert 0.6e-4 <= learning_rate_of(size_of(name)) <= 6e-4


def test_a_wrong_size_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'gpt-2-small'"):
        size_of("gpt-2-smal")
    with pytest.raises(OptionError, match="100 channels can't be shared by 3 heads"):
        size_of("gpt-1", channels=100, heads=3)


def test_what_adds_to_the_residual_stream_begins_smaller() -> None:
    backbone, head = new_model(config_of(size_of("gpt-2-small", layers=8, channels=128, context=16), 500), seed=1)
    block = backbone.get_submodule("blocks.3")
    for name, expected in (
        ("attention.qkv.weight", 0.02),
        ("attention.output.weight", 0.02 / 4),
        ("feed_forward.up.weight", 0.02),
        ("feed_forward.down.weight", 0.02 / 4),
    ):
        assert float(block.get_parameter(name).detach().std()) == pytest.approx(expected, rel=0.05)
    assert head.projection.weight is backbone.token_embedding.weight
    again, _ = new_model(backbone.config, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), backbone.parameters(), strict=True))


def test_scores_begin_scaled_where_the_layout_has_no_scale() -> None:
    backbone, _ = new_model(config_of(size_of("gpt-3-small", layers=1, channels=128, heads=2, context=16), 500), seed=1)
    queries, keys, _ = backbone.get_parameter("blocks.0.attention.qkv.weight").detach().chunk(3)
    assert float(queries.std()) == pytest.approx(float(keys.std()) / 8, rel=0.05)


def test_plain_text_and_rows_of_tables(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One long text.\nOf two lines.", encoding="utf-8")
    rows = [{"body": f"Row {number}."} for number in range(9)] + [{"body": " "}, {"other": 1}]
    (tmp_path / "b.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    corpus = read_corpus([tmp_path / "a.txt", tmp_path / "b.jsonl"], 0.2, column="body")
    assert (len(corpus.train), len(corpus.validation), corpus.skipped) == (8, 2, 2)
    assert not {*corpus.train} & {*corpus.validation}
    single = read_corpus([tmp_path / "a.txt"], 0.3)
    assert single.train + single.validation == ("One long text.\n", "Of two lines.")


def test_a_text_that_comes_twice_loses_its_end_both_times(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One long text.\nOf two lines.", encoding="utf-8")
    corpus = read_corpus([tmp_path / "a.txt"] * 2, 0.3)
    assert corpus.train == ("One long text.\n",) * 2
    assert corpus.validation == ("Of two lines.",)


def test_validation_that_is_all_learned_from_is_refused(tmp_path: Path) -> None:
    for name, texts in (("a", ("one", "two")), ("b", ("two", "two")), ("c", ("two", "three"))):
        rows = "".join(f"{json.dumps({'text': text})}\n" for text in texts)
        (tmp_path / f"{name}.jsonl").write_text(rows, encoding="utf-8")
    for same in ("a", "b"):
        with pytest.raises(DataError, match=rf"All of .*{same}\.jsonl is in the text to learn from"):
            read_corpus([tmp_path / "a.jsonl"], tmp_path / f"{same}.jsonl")
    assert read_corpus([tmp_path / "a.jsonl"], tmp_path / "c.jsonl").validation == ("two", "three")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ('{"txt": "a"}\n', {}, "has no column 'text'. Did you mean 'txt'"),
        ('{"text": 3}\n', {}, "a.jsonl:1 has no text in the column 'text' but 3"),
        ('{"text": " "}\n', {}, "There is no text in"),
        ('{"text": "abc"}\n', {"validation": 1.5}, "validation is 1.5"),
        ('{"text": "a"}\n', {}, "too short to set a share of it aside"),
    ],
)
def test_wrong_data_is_refused(content: str, options: dict, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises((DataError, OptionError), match=message):
        read_corpus([tmp_path / "a.jsonl"], **{"validation": 0.1, **options})


def test_tokens_on_the_disk_are_those_of_the_texts(tmp_path: Path) -> None:
    texts = ["The mill stands by the river.", "Où est le café ? 水边"]
    tokenizer = kept_tokenizer(tmp_path / "tokenizer", lambda: trained_tokenizer(texts, 300))
    (start, ends), store = ends_of(tokenizer), kept_tokens(tmp_path / "tokens", texts, tokenizer)
    assert ends == ()
    ids = store.ids.tolist()
    assert [place for place, token in enumerate(ids) if token == start] == [0, ids.index(start, 1), len(ids) - 1]
    assert tokenizer.decode(ids) == "".join(texts)
    assert int(token_sizes(tokenizer)[store.ids].sum()) == len("".join(texts).encode())
    kept = kept_tokens(tmp_path / "tokens", ["other"], tokenizer)  # there already
    assert kept.ids.tolist() == ids


@given(
    length=st.integers(3, 60),
    context=st.integers(2, 9),
    per_update=st.integers(1, 4),
    at_once=st.integers(1, 3),
    processes=st.integers(1, 3),
    masked=st.booleans(),
)
def test_an_epoch_learns_every_token_once(
    length: int, context: int, per_update: int, at_once: int, processes: int, masked: bool
) -> None:
    ids = np.arange(length, dtype=np.uint16)
    objective = Masked(1000, (0,)) if masked else NextToken()
    updates = BlockUpdates(
        ids,
        objective,
        context=context,
        blocks_per_update=per_update,
        blocks_at_once=at_once,
        epochs=2,
        seed=3,
        processes=processes,
    )
    assert updates.updates == 2 * updates.updates_per_epoch
    learned: list[int] = []
    for update in range(updates.updates_per_epoch):
        packs = [pack for process in range(processes) for pack in updates.packs(update, process)]
        assert all(max(pack.texts) <= context and len(pack.texts) <= at_once for pack in packs)
        assert all(sum(pack.texts) == len(pack.tokens) for pack in packs)
        targets = [target for pack in packs for target in pack.targets.tolist()]
        assert updates.amount(update) == (float(len(targets)), len(targets))
        learned += targets
        if not masked:
            for pack in packs:
                assert torch.equal(pack.tokens[pack.places] + 1, pack.targets)
    assert len(set(learned)) == len(learned)
    if not masked:
        assert sorted(learned) == list(range(1, length))


def test_what_is_hidden() -> None:
    objective = Masked(vocabulary_size=5000, ends=(7,))
    ids = np.random.default_rng(0).integers(10, 5000, 20_000).astype(np.uint16)
    ids[::50] = 7
    stretch = objective.stretch(ids, (1, 2))
    assert len(stretch.places) == objective.count(ids) == round(0.15 * 19_600)
    assert np.array_equal(stretch.targets, ids[stretch.places])
    assert not (stretch.targets == 7).any()
    seen = stretch.tokens[stretch.places]
    assert (seen == 5000).mean() == pytest.approx(0.8, abs=0.03)
    assert ((seen != 5000) & (seen != stretch.targets)).mean() == pytest.approx(0.1, abs=0.03)
    rest = np.delete(np.arange(len(ids)), stretch.places)
    assert np.array_equal(stretch.tokens[rest], ids[rest])
    assert np.array_equal(objective.stretch(ids, (1, 2)).tokens, stretch.tokens)
    assert not np.array_equal(objective.stretch(ids, (1, 3)).tokens, stretch.tokens)
