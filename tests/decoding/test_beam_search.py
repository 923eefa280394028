"""Beam search against transformers on the default model."""

from __future__ import annotations

import pytest
import torch

from gptapps.decoding.engine import Engine
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.request import FinishReason, Request
from gptapps.decoding.sampling import Sampling
from tests.peers import their_default_model

PROMPTS = ("The river rises in the hills and", "Name two colours.\n\n")


@pytest.mark.parametrize(
    ("beams", "length_penalty", "repetition_penalty"), [(2, 1.0, 1.0), (4, 1.0, 1.0), (3, 0.0, 1.3), (4, 2.0, 1.0)]
)
def test_beams_agree_with_transformers(
    default_model: LanguageModel, beams: int, length_penalty: float, repetition_penalty: float
) -> None:
    peer = their_default_model()
    for prompt in PROMPTS:
        tokens = default_model.tokenizer.encode(prompt)
        ours = next(
            Engine(default_model).complete(
                [
                    Request(
                        tuple(tokens),
                        12,
                        sampling=Sampling(repetition_penalty=repetition_penalty),
                        beams=beams,
                        returns=2,
                        length_penalty=length_penalty,
                    )
                ]
            )
        )
        theirs = peer.generate(
            torch.tensor([tokens]),
            attention_mask=torch.ones(1, len(tokens), dtype=torch.long),
            max_new_tokens=12,
            num_beams=beams,
            num_return_sequences=2,
            length_penalty=length_penalty,
            repetition_penalty=repetition_penalty,
            do_sample=False,
            eos_token_id=list(default_model.tokenizer.eos_ids),
            pad_token_id=0,
            output_scores=True,
            return_dict_in_generate=True,
        )
        scores = [one.log_likelihood / len(one.tokens) ** length_penalty for one in ours]
        assert scores == pytest.approx(theirs.sequences_scores.tolist(), abs=1e-3)
        gap = abs(scores[0] - scores[1])
        for one, sequence in zip(ours, theirs.sequences.tolist(), strict=True):
            if gap > 1e-3:  # nearly tied hypotheses may change places
                assert list(one.tokens) == sequence[len(tokens) :][: len(one.tokens)]


def test_a_stop_string_ends_a_beam(default_model: LanguageModel) -> None:
    tokens = tuple(default_model.tokenizer.encode("One, two, three,"))
    (one,) = next(Engine(default_model).complete([Request(tokens, 12, beams=2, stop=(", f", ", s"))]))
    assert one.finish_reason is FinishReason.STOP
    assert not one.text.endswith((", f", ", s"))


def test_beams_between_other_requests_change_nothing(tiny_model: LanguageModel) -> None:
    requests = [Request((20, 30), 5), Request((40, 50, 60), 6, beams=3), Request((70,), 4)]
    together = list(Engine(tiny_model, batch_size=2).complete(requests))
    single = [next(Engine(tiny_model).complete([request])) for request in requests]
    assert [one.tokens for (one,) in together] == [one.tokens for (one,) in single]
