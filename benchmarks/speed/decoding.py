"""Greedy decoding in float32: new tokens a second, prompts of about 60 tokens, one alone and eight together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.speed.measuring import OURS, BenchmarkError, Comparison, Samples, Target, interleaved, say
from benchmarks.speed.process import SideProcess
from benchmarks.speed.settings import Settings
from benchmarks.speed.texts import PARAGRAPHS

NEW_TOKENS = 64
TIE = 1e-3
"""Logits nearer than this are as good as equal: another batch shape moves a float32 logit by up to 5e-5."""

_THEIRS = "transformers"
_TARGETS = {1: 1.2, 8: 1.0}


def run(settings: Settings) -> list[Comparison]:
    """Measure each batch size, with one process for each side.

    Raises:
        BenchmarkError: the sides wrote different tokens, and not for a tie.
    """
    threads = settings.threads
    with (
        SideProcess("benchmarks.speed.ours", threads) as ours,
        SideProcess("benchmarks.speed.theirs", threads) as theirs,
    ):
        ours.call("load", model=settings.ours, threads=threads)
        theirs.call("load", model=settings.safetensors, threads=threads)
        return [_compare(settings, batch, ours, theirs) for batch in _TARGETS]


def _compare(settings: Settings, batch: int, ours: SideProcess, theirs: SideProcess) -> Comparison:
    say(f"decoding: batch {batch}")
    prompts = ours.call("encode", texts=list(PARAGRAPHS[:batch]))
    sides = {OURS: ours, _THEIRS: theirs}
    runs = interleaved(
        {name: partial(side.call, "complete", prompts=prompts, new_tokens=NEW_TOKENS) for name, side in sides.items()},
        settings.rounds,
        settings.warmups,
    )
    samples = [
        Samples(name, tuple(batch * NEW_TOKENS / run["seconds"] for run in runs[name]), side.peak_bytes)
        for name, side in sides.items()
    ]
    agreed = check_agreement(
        prompts, runs[OURS][0]["tokens"], runs[_THEIRS][0]["tokens"], lambda ids: float(ours.call("margin", tokens=ids))
    )
    return Comparison(
        name=f"decoding, batch {batch}",
        what=f"new tokens a second of greedy decoding, {NEW_TOKENS} for each of {batch}, reading the prompts included",
        unit="tokens/s",
        ours=samples[0],
        peers=(samples[1],),
        target=Target("ratio", "at least", _TARGETS[batch]),
        checks={"prompt_tokens": [len(prompt) for prompt in prompts], "same_tokens_until_tie": agreed},
    )


def check_agreement(
    prompts: Sequence[Sequence[int]],
    ours: Sequence[Sequence[int]],
    theirs: Sequence[Sequence[int]],
    margin: Callable[[list[int]], float],
) -> list[int]:
    """Return how many tokens of each row are the same on both sides.

    Args:
        prompts: what was read.
        ours, theirs: what each side wrote.
        margin: by how much the best logit after a text leads the second best.

    Raises:
        BenchmarkError: a row is shorter than asked, or the first difference stands where there is no tie.
    """
    agreed = []
    for row, (prompt, mine, other) in enumerate(zip(prompts, ours, theirs, strict=True)):
        if not len(mine) == len(other) == NEW_TOKENS:
            raise BenchmarkError(f"Row {row} has {len(mine)} and {len(other)} new tokens instead of {NEW_TOKENS}.")
        same = next((place for place in range(NEW_TOKENS) if mine[place] != other[place]), NEW_TOKENS)
        if same < NEW_TOKENS and (lead := margin([*prompt, *mine[:same]])) > TIE:
            raise BenchmarkError(
                f"Row {row}, token {same}: {OURS} wrote {mine[same]} and {_THEIRS} {other[same]}, "
                f"and the best logit leads by {lead:.2g}."
            )
        agreed.append(same)
    return agreed
