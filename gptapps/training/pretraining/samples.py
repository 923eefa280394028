"""What a model says while it learns: a file of text for each evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gptapps.cache_files import durable
from gptapps.decoding.engine import Engine
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.masked_model import MASK, MaskedModel
from gptapps.decoding.request import Request
from gptapps.decoding.sampling import Sampling
from gptapps.training.packing import Pack

_SAMPLING = Sampling(temperature=1.0, top_p=0.95)
_RULE = "-" * 40


def write_samples(folder: Path, row: Mapping[str, float], texts: Iterator[str]) -> None:
    """Write the samples of an evaluation, whole or not at all.

    Args:
        folder: of all of them; made where it isn't there.
        row: of the evaluation, its ``update`` among it.
        texts: the samples.
    """
    folder.mkdir(parents=True, exist_ok=True)
    said = ", ".join(f"{name.replace('_', ' ')} {value:.6g}" for name, value in row.items())
    content = f"\n{_RULE}\n".join([said, *texts])
    with durable(folder / f"update-{int(row['update']):08d}.txt") as file:
        file.write(f"{content}\n".encode("utf-8", "replace"))


def continued(model: LanguageModel, prompts: Sequence[str], tokens: int, seed: int) -> Iterator[str]:
    """Yield each prompt with what the model says behind it; an empty one lets it begin a text."""
    room = model.context_length - 2  # the token in front, and one to say
    encoded = [model.tokenizer.encode(prompt, special_tokens=False)[:room] for prompt in prompts]
    requests = [
        Request((model.start_id, *ids), tokens, sampling=_SAMPLING, seed=seed + number)
        for number, ids in enumerate(encoded)
    ]
    for prompt, (completion,) in zip(prompts, Engine(model).complete(requests), strict=True):
        yield prompt + completion.text


def filled(model: MaskedModel, pack: Pack) -> Iterator[str]:
    """Yield the first text of a pack with masks in it, and what the model puts in their place."""
    ids = pack.tokens[: pack.texts[0]].tolist()
    likeliest = model.logits(ids).argmax(1).tolist()
    decode = model.tokenizer.decode
    hidden = [(decode([said]) if token == model.mask_id else None) for token, said in zip(ids, likeliest, strict=True)]
    shown, guessed = [], []
    run: list[int] = []
    for token, guess in zip(ids, hidden, strict=True):
        if guess is None:
            run.append(token)
            continue
        shown += [decode(run), MASK]
        guessed += [decode(run), f"[{guess}]"]
        run = []
    yield "".join([*shown, decode(run)])
    yield "".join([*guessed, decode(run)])
