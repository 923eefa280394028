"""A gptapps model that lm-evaluation-harness can evaluate, registered there as ``gptapps``.

Token ids, truncation and the texts that come back are those of the harness's own ``hf`` backend; what requests begin
with in common is encoded once.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window, simple_parse_args_string
from tqdm import tqdm

from gptapps.backbone.weights import tensor_shapes
from gptapps.decoding.choice_scoring import choice_scores
from gptapps.decoding.engine import Engine
from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.prefix_tree import PrefixTree, Tokens
from gptapps.decoding.request import Request
from gptapps.decoding.shared_reading import Choices
from gptapps.errors import DataError, InputTooLongError
from gptapps.integrations.lm_eval_arguments import checked_arguments, generation_settings

_MOST_NEW_TOKENS = 256  # where a task sets no limit; the hf backend's number
_REMEMBERED_TEXTS = 64
_TOGETHER = 64  # the most questions of one pass through the model, which has a bound of its own in tokens
_SEED_STEP = 1_000_003  # keeps the requests of one seed from having those of the next
_MARK = "[[[the text goes on here]]] "

logger = logging.getLogger("gptapps")


@register_model("gptapps")
class GPTAppsLM(TemplateLM):  # type: ignore[misc]  # the harness is not typed
    """A model for the harness's ``--model gptapps``, or for the ``model`` of its ``simple_evaluate``.

    Args:
        pretrained: a packaged model's name, a directory, a GGUF file, a hub id, or a model that is loaded already;
            ``device``, ``dtype``, ``low_memory`` and ``revision`` are of no use for the last.
        device: such as ``"cpu"`` or ``"cuda:0"``; None takes the GPU where there is one.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``; None takes bfloat16 on a GPU, else float32.
        low_memory: keep matrices in the 8 or 16 bits that the files have them in, and widen each when it's used.
        revision: branch, tag or commit of a hub id.
        threads: of PyTorch on the CPU; None leaves them as they are.
        batch_size: how many texts are generated at once. Scoring has no use for it: it reads a fixed number of new
            tokens at a time.
        max_cache_bytes: the most memory for keys and values; None for no bound.
        max_length: the most tokens a text may have, prompt and continuation together; None for the context length.

    Raises:
        ModelError: the model can't be found, fetched or read.
        OptionError, ResourceError: no such type or device.

    Example:
        >>> lm_eval.simple_evaluate(GPTAppsLM("smollm2-135m-instruct"), tasks=["arc_easy"])       # doctest: +SKIP
    """

    def __init__(
        self,
        pretrained: str | LanguageModel,
        *,
        device: str | None = None,
        dtype: str | None = None,
        low_memory: bool = False,
        revision: str | None = None,
        threads: int | None = None,
        batch_size: int = 1,
        max_cache_bytes: int | None = None,
        max_length: int | None = None,
    ) -> None:
        super().__init__()
        if threads is not None:
            torch.set_num_threads(threads)
        self.model = (
            LanguageModel.load(pretrained, device=device, dtype=dtype, low_memory=low_memory, revision=revision)
            if isinstance(pretrained, str)
            else pretrained
        )
        self.batch_size = batch_size
        self.max_cache_bytes = max_cache_bytes
        self.max_length = min(max_length or self.model.context_length, self.model.context_length)
        self._device = self.model.backbone.device
        self._start_text = self.model.tokenizer.decode([self.prefix_token_id], skip_special_tokens=False)
        self._encode = lru_cache(_REMEMBERED_TEXTS)(self.model.tokenizer.encode)  # a question comes once a choice

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> GPTAppsLM:
        """Make a model of ``"pretrained=…,threads=2"``; see :meth:`create_from_arg_obj`."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> GPTAppsLM:
        """Make a model of what stood behind ``--model_args``.

        Args:
            arg_dict: names and values.
            additional_config: the command line's ``--batch_size`` and ``--device``; ``arg_dict`` goes before them.

        Raises:
            GPTAppsError: a name or value that makes no sense, or a model that can't be used.
        """
        return cls(**checked_arguments(arg_dict, additional_config or {}))

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return next(iter(self.model.tokenizer.eos_ids), self.model.start_id)

    @property
    def prefix_token_id(self) -> int:
        """The token that stands before a text that has nothing before it."""
        return self.model.start_id

    @property
    def tokenizer_name(self) -> str:
        """Under which name the harness keeps prompts made with the chat template."""
        return self.model.name.replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Return the chat template for the harness's records; models have one at most, whatever its name."""
        return self.model.tokenizer.chat_template if chat_template else None

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return a conversation as text; without a generation prompt it breaks off inside the last message.

        A system message is left out where the template has no place for it, as the hf backend does.

        Raises:
            CapabilityError: the model has no chat template.
        """
        tokenizer = self.model.tokenizer
        messages = [
            message for message in chat_history if tokenizer.supports_system_role or message["role"] != "system"
        ]
        if add_generation_prompt:
            return tokenizer.render_chat(messages)
        *before, last = messages
        marked = {**last, "content": last["content"] + _MARK}
        text = tokenizer.render_chat([*before, marked], add_generation_prompt=False)
        end = text.rindex(_MARK.strip())
        return text[:end] if text[end : end + len(_MARK)] == _MARK else text[:end].rstrip()  # the template trims

    def get_model_info(self) -> dict[str, Any]:
        """Return what the harness's results say about the model."""
        shapes = tensor_shapes(self.model.backbone.config)  # of tied ones the first only
        return {
            "model_num_parameters": sum(map(math.prod, shapes.values())),
            "model_dtype": str(self.model.backbone.dtype),
        }

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Return the ids of a text; nothing is put before one that begins with the start token already."""
        special = not string.startswith(self._start_text) if add_special_tokens is None else add_special_tokens
        return list(self._encode(string, special_tokens=special))

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Return the log-likelihood of whole texts, in windows of the context length that don't overlap."""
        texts = [request.args[0] for request in requests]
        windows = [
            (number, *make_disjoint_window(window))
            for number, text in enumerate(texts)
            for window in get_rolling_token_windows(self.tok_encode(text), self.prefix_token_id, self.max_length, 1)
        ]
        totals = [0.0] * len(texts)
        pairs = [(context, continuation) for _, context, continuation in windows]
        for place, log_likelihood, _ in self._scored(pairs, "Running loglikelihood requests", disable_tqdm):
            totals[windows[place][0]] += log_likelihood
        for text, total in zip(texts, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), total)
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return a continuation of each text, up to where one of its stop strings would begin.

        Raises:
            OptionError: a setting of a task that gptapps has no counterpart for.
        """
        arguments = [request.args for request in requests]
        engine = Engine(self.model, batch_size=self.batch_size, max_cache_bytes=self.max_cache_bytes)
        written = engine.complete(self._requests(arguments))
        texts = []
        progress = tqdm(arguments, desc="Running generate_until requests", disable=disable_tqdm)
        for (context, settings), (completion,) in zip(progress, written, strict=True):
            texts.append(completion.text)
            self.cache_hook.add_partial("generate_until", (context, settings), completion.text)
        return texts

    def _requests(self, arguments: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Request]:
        requests, cut = [], 0
        for number, (context, settings) in enumerate(arguments):
            asked = generation_settings(settings, _MOST_NEW_TOKENS)
            room = self.max_length - asked.max_new_tokens
            if room < 1:
                raise InputTooLongError(
                    f"A task asks for {asked.max_new_tokens} new tokens, and the model holds {self.max_length} for "
                    "prompt and continuation together: set fewer with --gen_kwargs max_gen_toks=N."
                )
            tokens = self.tok_encode(context) or [self.prefix_token_id]
            cut += len(tokens) > room
            # --seed sets PyTorch's; a task may ask for several draws for one text
            seed = torch.initial_seed() * _SEED_STEP + number
            requests.append(
                Request(
                    tuple(tokens[-room:]),
                    asked.max_new_tokens,
                    asked.sampling,
                    asked.stop,
                    seed=seed,
                    beams=asked.beams,
                )
            )
        self._tell(cut, len(requests))
        return requests

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        found: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        pairs = [(context, continuation) for _, context, continuation in requests]
        for place, log_likelihood, greedy in self._scored(pairs, "Running loglikelihood requests", disable_tqdm):
            found[place] = (log_likelihood, greedy)
            self.cache_hook.add_partial("loglikelihood", requests[place][0], found[place])
        return found

    def _scored(
        self, pairs: Sequence[tuple[list[int], list[int]]], what: str, quiet: bool
    ) -> Iterator[tuple[int, float, bool]]:
        """Yield the number of each pair, its continuation's log-likelihood, and whether that is the greedy one."""
        asked: dict[Tokens, dict[Tokens, list[int]]] = {}  # text -> continuation -> numbers of the pairs
        for number, (context, continuation) in enumerate(self._fitting(pairs)):
            asked.setdefault(context, {}).setdefault(continuation, []).append(number)
        texts = sorted(asked)  # so that neighbours share as much as they can
        tree = PrefixTree(self.model, max_bytes=self.max_cache_bytes)
        items = (Choices(text, tuple(asked[text])) for text in texts)
        with tqdm(total=len(pairs), desc=what, disable=quiet) as progress:
            for text, scores in zip(texts, choice_scores(tree, items, batch_size=_TOGETHER), strict=True):
                for numbers, tokens in zip(asked[text].values(), scores, strict=True):
                    log_likelihood = math.fsum(token.log_probability for token in tokens)
                    greedy = all(token.likeliest for token in tokens)
                    yield from ((number, log_likelihood, greedy) for number in numbers)
                    progress.update(len(numbers))

    def _fitting(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[tuple[Tokens, Tokens]]:
        """Return the pairs without the tokens at their beginning that the model can't hold."""
        fitting = [self._cut(context, continuation) for context, continuation in pairs]
        self._tell(sum(len(own) < len(given) for (own, _), (given, _) in zip(fitting, pairs, strict=True)), len(pairs))
        return fitting

    def _tell(self, cut: int, total: int) -> None:
        if cut:
            logger.warning(
                "%d of %d texts are too long for the model, which holds %d tokens, and lose their beginning.",
                cut,
                total,
                self.max_length,
            )

    def _cut(self, context: Sequence[int], continuation: Sequence[int]) -> tuple[Tokens, Tokens]:
        if not continuation:
            raise DataError(
                "A continuation has no token of its own: it is empty, or its characters became part of the last token "
                "of the text before it."
            )
        if len(continuation) > self.max_length:
            raise InputTooLongError(
                f"A continuation has {len(continuation)} tokens, and the model holds {self.max_length}: shorten it."
            )
        room = self.max_length + 1 - len(continuation)  # the last token is only predicted, never read
        return tuple(context[-room:]), tuple(continuation)
