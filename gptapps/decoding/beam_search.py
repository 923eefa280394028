"""Beam search over one shared prompt, scored and ended as transformers' ``generate(num_beams=…)`` does by default."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gptapps.backbone.kv_cache import KVCache
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.prompt_sharing import Prompt, PromptReader
from gptapps.decoding.request import Completion, FinishReason, Request
from gptapps.decoding.sampling import penalize_repetition
from gptapps.decoding.text_assembly import TextAssembly


@dataclass(frozen=True, slots=True)
class _Beam:
    tokens: tuple[int, ...]
    log_likelihood: float
    score: float = 0.0
    finish_reason: FinishReason = FinishReason.LENGTH
    text: str = ""


@torch.inference_mode()
def beam_search(
    model: LanguageModel, request: Request, cache: KVCache, reader: PromptReader, shared: int = 0
) -> list[Completion]:
    """Return the ``request.returns`` best continuations that ``request.beams`` beams find, best first.

    The prompt is read once and frozen; every beam stands behind the same segment and owns only what it added.

    Args:
        model: which.
        request: what to continue.
        cache: an empty one; it is empty afterwards.
        reader: reads the prompt.
        shared: how many of its tokens other prompts begin with as well.

    Raises:
        ResourceError: the memory bound would be passed.
    """
    limit = min(request.max_new_tokens, model.context_length - len(request.tokens))
    end_ids = frozenset(model.tokenizer.eos_ids)
    logits = reader.read(cache, [Prompt(request.tokens, shared)])
    prompt = cache.freeze(0)
    cache.release()
    cache.add_rows([prompt])
    prompt.release()
    running = [_Beam((), 0.0)]
    finished: list[_Beam] = []
    while True:
        candidates = _continuations(running, logits, request, max(2, 1 + len(end_ids)) * request.beams)
        length = len(candidates[0][1].tokens)
        open_: list[tuple[int, _Beam]] = []
        for rank, (source, beam) in enumerate(candidates):
            ended = _ended(model, beam, request, end_ids, limit)
            if ended is None:
                open_.append((source, beam))
            elif rank < request.beams:
                finished.append(ended)
        finished = sorted(finished, key=lambda beam: -beam.score)[: request.beams]
        open_ = open_[: request.beams]
        if not open_ or (
            len(finished) == request.beams
            and open_[0][1].log_likelihood / length**request.length_penalty <= finished[-1].score
        ):
            break
        cache.reorder([source for source, _ in open_])
        running = [beam for _, beam in open_]
        logits = model.next_token_logits([beam.tokens[-1:] for beam in running], cache.all_rows())
    cache.release()
    return [
        Completion(beam.text, beam.tokens, beam.finish_reason, beam.log_likelihood)
        for beam in finished[: request.returns]
    ]


def _continuations(running: list[_Beam], logits: Tensor, request: Request, count: int) -> list[tuple[int, _Beam]]:
    """Return the ``count`` likeliest one-token extensions with the beam each continues."""
    scores = logits.log_softmax(-1)  # (beams, V)
    if request.sampling.repetition_penalty != 1:
        penalty = request.sampling.repetition_penalty
        scores = torch.stack(
            [
                penalize_repetition(row, {*request.tokens, *beam.tokens}, penalty)
                for row, beam in zip(scores, running, strict=True)
            ]
        )
    totals = scores + torch.tensor([[beam.log_likelihood] for beam in running], device=scores.device)
    best = totals.flatten().topk(min(count, totals.numel()))
    return [
        (
            place // scores.shape[1],
            _Beam((*running[place // scores.shape[1]].tokens, place % scores.shape[1]), total),
        )
        for total, place in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


def _ended(model: LanguageModel, beam: _Beam, request: Request, end_ids: frozenset[int], limit: int) -> _Beam | None:
    """Return the beam with its score and text if its last token ended it, else None."""
    at_end = beam.tokens[-1] in end_ids
    if not (at_end or request.stop or len(beam.tokens) == limit):
        return None
    assembly = TextAssembly(model.tokenizer, request.stop)
    for token in beam.tokens[: -1 if at_end else None]:
        assembly.push(token)
    if not at_end and assembly.stopped:
        reason = FinishReason.STOP
    elif at_end:
        reason = FinishReason.END
    elif len(beam.tokens) == limit:
        reason = FinishReason.LENGTH
    else:
        return None
    assembly.finish()
    score = beam.log_likelihood / len(beam.tokens) ** request.length_penalty
    return _Beam(beam.tokens, beam.log_likelihood, score, reason, assembly.text)
