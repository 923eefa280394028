"""The speed benchmarks run, refuse to compare different work, and write what they found. No time is judged here."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
import tokenizers
import transformers
from tokenizers import decoders, models, pre_tokenizers, trainers

from benchmarks.speed.__main__ import main
from benchmarks.speed.decoding import NEW_TOKENS, check_agreement
from benchmarks.speed.measuring import (
    BenchmarkError,
    Comparison,
    Samples,
    Target,
    environment,
    interleaved,
    report,
    table,
    write,
)
from benchmarks.speed.process import SideProcess
from benchmarks.speed.startup import Start, check_same_tokens
from benchmarks.speed.texts import PARAGRAPHS, STARTUP_TEXT


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers that reads bytes, in the Hugging Face layout."""
    directory = tmp_path_factory.mktemp("tiny")
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator([], trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False))
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(directory)
    transformers.set_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=backend.get_vocab_size(),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.4,
        bos_token_id=None,
        eos_token_id=None,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(directory)
    return directory


def comparison(ours: float = 1.0, theirs: float = 4.0, target: Target | None = None) -> Comparison:
    return Comparison(
        name="reading",
        what="seconds of reading",
        unit="s",
        ours=Samples("gptapps", (ours, ours + 2, ours - 0.5), 3 * 2**20, {"load": (0.1, 0.2, 0.3)}),
        peers=(Samples("transformers", (theirs,)), Samples("another", (theirs / 2,))),
        target=target,
        checks={"same_tokens": True},
    )


def test_every_benchmark_runs_and_is_written(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "speed.json"
    options = ["--rounds", "1", "--warmups", "0", "--threads", "1", "--model", str(tiny_model), "--output", str(file)]
    assert main(options) == 0
    written = json.loads(file.read_text(encoding="utf-8"))
    assert [result["name"] for result in written["results"]] == [
        "startup",
        "import",
        "decoding, batch 1",
        "decoding, batch 8",
    ]
    assert written["settings"] == {
        "model": tiny_model.name,
        "rounds": 1,
        "warmups": 0,
        "threads": 1,
        "dtype": "float32",
    }
    for result in written["results"]:
        for side in (result["ours"], *result["peers"]):
            assert len(side["samples"]) == 1
            assert side["peak_bytes"] is None or side["peak_bytes"] > 2**20
    startup, imports, alone, _ = written["results"]
    assert startup["checks"] == {"prompt_tokens": len(STARTUP_TEXT), "new_tokens": 20, "same_tokens": True}
    assert list(startup["ours"]["phases"]) == ["torch", "import", "load", "generate"]
    assert imports["checks"] == {"not_loaded": ["torch", "transformers"]}
    assert alone["checks"]["prompt_tokens"] == [len(PARAGRAPHS[0])]
    shown = capsys.readouterr().out
    assert all(result["name"] in shown for result in written["results"])


def test_only_what_was_asked_for_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "speed.json"
    assert main(["--only", "import", "--rounds", "2", "--warmups", "0", "--output", str(file)]) == 0
    (result,) = json.loads(file.read_text(encoding="utf-8"))["results"]
    assert result["name"] == "import"
    assert len(result["ours"]["samples"]) == len(result["peers"][0]["samples"]) == 2
    assert "startup" not in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--only", "nothing"], ["--rounds", "0"], ["--threads", "two"]])
def test_wrong_options_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(wrong)
    assert refused.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_a_model_that_is_not_there_ends_the_run_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "speed.json"
    assert main(["--only", "startup", "--model", "no-such-model", "--output", str(file)]) == 1
    assert "There is no model 'no-such-model'" in capsys.readouterr().err
    assert not file.exists()


def test_sides_take_turns_and_warm_ups_are_dropped() -> None:
    order: list[str] = []

    def turn(side: str) -> int:
        order.append(side)
        return len(order)

    results = interleaved({"a": lambda: turn("a"), "b": lambda: turn("b")}, 2, 1)
    assert order == ["a", "b"] * 3
    assert results == {"a": [3, 5], "b": [4, 6]}


def test_a_ratio_is_our_median_over_theirs() -> None:
    found = comparison(ours=1.0, theirs=4.0)
    assert [found.ratio(peer) for peer in found.peers] == [0.25, 0.5]


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (Target("ratio", "at most", 0.25), True),
        (Target("ratio", "at most", 0.24), False),
        (Target("ratio", "at least", 0.25), True),
        (Target("ratio", "at least", 0.26), False),
        (Target("median", "at most", 1.0), True),
        (Target("median", "at most", 0.9), False),
    ],
)
def test_a_target_means_the_first_peer_or_our_median(target: Target, met: bool) -> None:
    found = comparison(target=target)
    assert target.is_met(found) is met
    (result,) = report([found], {}, {})["results"]
    assert (result["target"], result["met"]) == (str(target), met)


def test_the_table_has_a_line_for_each_side() -> None:
    head, ours, peer, other = table([comparison(target=Target("ratio", "at most", 0.2))]).splitlines()
    assert head.split()[:3] == ["benchmark", "side", "median"]
    assert ours.split() == [
        "reading,",
        "s",
        "gptapps",
        "1.000",
        "0.500",
        "3.000",
        "3",
        *["ratio", "at", "most", "0.2:", "missed"],
    ]
    assert peer.split() == ["transformers", "4.000", "4.000", "4.000", "0.250"]
    assert other.split() == ["another", "2.000", "2.000", "2.000", "0.500"]


def test_the_file_holds_every_sample(tmp_path: Path) -> None:
    write(report([comparison()], {"threads": 2}, environment()), tmp_path / "speed.json")
    written = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert written["settings"] == {"threads": 2}
    (result,) = written["results"]
    assert result["ours"] == {
        "side": "gptapps",
        "median": 1.0,
        "samples": [1.0, 3.0, 0.5],
        "peak_bytes": 3 * 2**20,
        "phases": {"load": {"median": 0.2, "samples": [0.1, 0.2, 0.3]}},
    }
    assert [peer["ratio"] for peer in result["peers"]] == [0.25, 0.5]
    assert (result["target"], result["met"]) == (None, None)


def test_the_environment_names_versions_and_no_machine() -> None:
    found = environment()
    assert found["versions"]["torch"]
    assert found["python"] == platform.python_version()
    told = json.dumps(found)
    assert platform.node() not in told
    assert str(Path.home()) not in told


def test_starts_that_read_or_wrote_other_tokens_are_not_compared() -> None:
    found = {"prompt": [1, 2], "tokens": list(range(20)), "phases": {}}
    same = Start(1.0, 1, found)
    check_same_tokens({"gptapps": [same, same], "other": [same]})
    for changed, problem in (
        ({"prompt": [1, 3]}, "The prompt of other"),
        ({"tokens": [0] * 20}, "The tokens of other"),
    ):
        with pytest.raises(BenchmarkError, match=problem):
            check_same_tokens({"gptapps": [same], "other": [same, Start(1.0, 1, found | changed)]})
    with pytest.raises(BenchmarkError, match="19 tokens instead of 20"):
        check_same_tokens({"gptapps": [Start(1.0, 1, found | {"tokens": list(range(19))})]})


def test_rows_may_part_at_a_tie_and_nowhere_else() -> None:
    ours = [5] * NEW_TOKENS
    theirs = [*ours[:10], 6, *ours[11:]]
    asked: list[list[int]] = []

    def tied(ids: list[int]) -> float:
        asked.append(ids)
        return 1e-4

    assert check_agreement([[1]], [ours], [ours], tied) == [NEW_TOKENS]
    assert asked == []
    assert check_agreement([[1]], [ours], [theirs], tied) == [10]
    assert asked == [[1, *ours[:10]]]
    with pytest.raises(BenchmarkError, match="Row 0, token 10"):
        check_agreement([[1]], [ours], [theirs], lambda ids: 0.5)
    with pytest.raises(BenchmarkError, match="instead of 64"):
        check_agreement([[1]], [ours], [ours[:-1]], tied)


def test_a_side_that_fails_says_why() -> None:
    with SideProcess("benchmarks.speed.ours", 1) as side, pytest.raises(BenchmarkError, match="no attribute 'dance'"):
        side.call("dance")
