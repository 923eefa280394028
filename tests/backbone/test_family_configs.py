"""config.json in the form of transformers 4 and 5, written and read; options nobody implements."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import CASES, ONE_PER_FAMILY, TinyModel
from transformers import AutoConfig

from gptapps.backbone.checkpoint import config_from_values, config_values
from gptapps.backbone.config import Activation, Wiring
from gptapps.backbone.rotary import DynamicScaling, LinearScaling, YarnScaling
from gptapps.errors import CheckpointError, UnsupportedModelError


def stored(model: TinyModel) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((model.directory / "config.json").read_text())
    return values


def in_the_older_form(values: dict[str, Any]) -> dict[str, Any]:
    """Return the config.json that transformers 4 would have written."""
    older = {key: value for key, value in values.items() if key not in ("rope_parameters", "dtype")}
    older["torch_dtype"] = values["dtype"]
    rope = values.get("rope_parameters")
    if rope is None:
        return older
    if "full_attention" in rope:
        older["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
        older["sliding_window_pattern"] = 6
        del older["layer_types"]
    rope = dict(rope)
    base, fraction = rope.pop("rope_theta"), rope.pop("partial_rotary_factor", None)
    if values["model_type"] == "gpt_neox":
        older |= {"rotary_emb_base": base, "rotary_pct": fraction}
    else:
        older["rope_theta"] = base
    kind = rope.pop("rope_type")
    older["rope_scaling"] = None if kind == "default" else {"type": kind, **rope}
    return older


@pytest.mark.parametrize("name", CASES)
def test_the_older_form_means_the_same(name: str, tiny: Callable[[str], TinyModel]) -> None:
    model = tiny(name)
    older = in_the_older_form(stored(model))
    assert config_from_values(older, "config.json") == model.backbone.config


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_is_read_back(name: str, tiny: Callable[[str], TinyModel]) -> None:
    config = tiny(name).backbone.config
    assert config_from_values(json.loads(json.dumps(config_values(config))), "config.json") == config


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_can_be_read_in_the_older_form(name: str, tiny: Callable[[str], TinyModel]) -> None:
    config = tiny(name).backbone.config
    written = config_values(config)
    written.pop("rope_parameters", None)  # which transformers 4 doesn't look at
    assert config_from_values(written, "config.json") == config


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_defaults_are_those_of_transformers(name: str) -> None:
    model_type, values = CASES[name]
    # A config.json made by hand may leave out whatever transformers has a default for.
    sparse = {"model_type": model_type, **values}
    full = AutoConfig.for_model(model_type, **values).to_dict()
    assert config_from_values(sparse, "config.json") == config_from_values(full, "config.json")


def test_scalings_stretch_the_context(tiny: Callable[[str], TinyModel]) -> None:
    lengths = {}
    for name in ("llama", "llama-linear", "llama-dynamic", "llama-yarn", "llama-longrope", "llama-llama3"):
        lengths[name] = tiny(name).backbone.config.context_length
    assert lengths == {
        "llama": 64,
        "llama-linear": 256,
        "llama-dynamic": 32,
        "llama-yarn": 64,
        "llama-longrope": 64,
        "llama-llama3": 64,
    }


def test_a_few_readings_in_full(tiny: Callable[[str], TinyModel]) -> None:
    neox = tiny("gpt_neox-sequential").backbone.config
    assert neox.wiring is Wiring.PRE_NORM
    assert neox.rotary is not None
    assert (neox.rotary.base, neox.rotary.size, neox.rotary.scaling) == (5000.0, 8, LinearScaling(2.0))
    gemma = tiny("gemma3").backbone.config
    assert gemma.windows == (5, 5, 5, 5, 5, None, 5, 5)
    assert gemma.rotary is not None
    assert gemma.local_rotary is not None
    assert (gemma.rotary.base, gemma.local_rotary.base) == (1_000_000.0, 10_000.0)
    assert gemma.attention.scale == 20**-0.5
    assert tiny("gpt1").backbone.config.feed_forward.activation is Activation.GELU_TANH
    assert tiny("gpt_neo").backbone.config.windows == (None, 5) * 4
    assert tiny("qwen2-windows").backbone.config.windows == (None,) * 3 + (5,) * 4
    dynamic = tiny("llama-dynamic").backbone.config.rotary
    assert dynamic is not None
    assert dynamic.scaling == DynamicScaling(2.0, 16)
    yarn = tiny("llama-yarn").backbone.config.rotary
    assert yarn is not None
    assert isinstance(yarn.scaling, YarnScaling)
    assert yarn.scaling.attention_factor == pytest.approx(1.1386294)  # 0.1 ln 4 + 1


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("gpt2", "scale_attn_by_inverse_layer_idx", True),
        ("gpt2", "add_cross_attention", True),
        ("gpt2", "activation_function", "quick_gelu"),
        ("gemma3", "attn_logit_softcapping", 50.0),
        ("gemma3", "use_bidirectional_attention", True),
        ("gptj", "rotary_dim", None),
        ("qwen3-windows", "layer_types", ["chunked_attention"] * 7),
        ("gpt_neo", "attention_types", [[["global", "local"], 3]]),
    ],
)
def test_an_option_nobody_implements(name: str, option: str, value: object, tiny: Callable[[str], TinyModel]) -> None:
    values = stored(tiny(name)) | {option: value}
    with pytest.raises(UnsupportedModelError, match=rf"^config\.json sets {option} to .*: .*\.$"):
        config_from_values(values, "config.json")


def test_a_rotary_scaling_nobody_knows(tiny: Callable[[str], TinyModel]) -> None:
    values = stored(tiny("llama"))
    values["rope_parameters"] |= {"rope_type": "spiral"}
    with pytest.raises(UnsupportedModelError, match=r"rope_parameters in config\.json sets rope_type to 'spiral'"):
        config_from_values(values, "config.json")


def test_divisors_of_another_number_of_pairs(tiny: Callable[[str], TinyModel]) -> None:
    values = stored(tiny("llama-longrope"))
    values["rope_parameters"] |= {"long_factor": [1.0, 2.0]}
    with pytest.raises(UnsupportedModelError, match=r"sets long_factor to \[1.0, 2.0\]: it should hold 6 numbers"):
        config_from_values(values, "config.json")


def test_an_odd_number_of_rotated_channels(tiny: Callable[[str], TinyModel]) -> None:
    values = stored(tiny("gpt_neox"))
    values["rope_parameters"] |= {"partial_rotary_factor": 0.2}
    with pytest.raises(UnsupportedModelError, match="rotates 3 channels of each head"):
        config_from_values(values, "config.json")


def test_an_unknown_family_is_told_its_neighbour() -> None:
    with pytest.raises(UnsupportedModelError, match=r"'lama' model.* Did you mean 'llama'\? Known: gemma3, .*qwen3\.$"):
        config_from_values({"model_type": "lama"}, "config.json")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("hidden_size", "32", "sets hidden_size to '32' where a whole number from 1 on belongs"),
        ("hidden_size", True, "sets hidden_size to True where a whole number from 1 on belongs"),
        ("num_attention_heads", 0, "sets num_attention_heads to 0 where a whole number from 1 on belongs"),
        ("hidden_size", None, "doesn't say hidden_size"),
        ("rms_norm_eps", "tiny", "sets rms_norm_eps to 'tiny' where a number belongs"),
        ("attention_bias", 1, "sets attention_bias to 1 where true or false belongs"),
        ("hidden_act", 3, "sets hidden_act to 3 where a string belongs"),
        ("rope_parameters", [1], r"sets rope_parameters to \[1\] where an object belongs"),
    ],
)
def test_a_value_that_makes_no_sense(
    option: str, value: object, message: str, tiny: Callable[[str], TinyModel]
) -> None:
    with pytest.raises(CheckpointError, match=rf"^config\.json {message}"):
        config_from_values(stored(tiny("llama")) | {option: value}, "config.json")


def test_a_combination_no_family_has(tiny: Callable[[str], TinyModel]) -> None:
    with pytest.raises(UnsupportedModelError, match="4 heads that 3 key/value heads do not divide"):
        config_from_values(stored(tiny("llama")) | {"num_key_value_heads": 3}, "config.json")


def complaint_about(values: dict[str, Any]) -> str | None:
    try:
        config_from_values(values, "config.json")
    except (CheckpointError, UnsupportedModelError) as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", [*ONE_PER_FAMILY, "llama-yarn", "llama-longrope", "llama-llama3"])
def test_any_nonsense_is_one_sentence(name: str, tiny: Callable[[str], TinyModel]) -> None:
    values = stored(tiny(name))
    sections: list[dict[str, Any]] = [values, *(value for value in values.values() if isinstance(value, dict))]
    sections += [value for section in sections[1:] for value in section.values() if isinstance(value, dict)]
    for section in sections:
        for key, value in list(section.items()):
            for nonsense in (0, -1, 1.5, "x", None, True, [], {}, [[1]], {"full_attention": 3}):
                section[key] = nonsense
                complaint = complaint_about(values)
                assert complaint is None or "config.json" in complaint or "configuration asks for" in complaint
                assert "\n" not in (complaint or "")
            section[key] = value
    assert config_from_values(values, "config.json") == tiny(name).backbone.config


def test_gemma_with_a_vision_tower(tiny: Callable[[str], TinyModel], tmp_path: Path) -> None:
    values = stored(tiny("gemma3"))
    wrapped = {"model_type": "gemma3", "text_config": values, "vision_config": {"hidden_size": 8}}
    assert config_from_values(wrapped, "config.json") == tiny("gemma3").backbone.config
