"""Languages have a name in English and in Chinese."""

from __future__ import annotations

import pytest

from gptapps.errors import OptionError
from gptapps.prompts import LANGUAGES, language_name


@pytest.mark.parametrize(
    ("code", "prompt_language", "expected"),
    [("fr", "en", "French"), ("fr", "zh", "法语"), ("zh", "zh", "中文"), ("fr", "de", "French")],
)
def test_a_language_is_named_in_the_prompts_language(code: str, prompt_language: str, expected: str) -> None:
    assert language_name(code, prompt_language) == expected


@pytest.mark.parametrize("prompt_language", ["en", "zh"])
def test_no_two_languages_share_a_name(prompt_language: str) -> None:
    assert len({language_name(code, prompt_language) for code in LANGUAGES}) == len(LANGUAGES)


@pytest.mark.parametrize(("code", "meant"), [("French", "fr"), ("frr", "fr")])
def test_an_unknown_code_suggests_the_one_meant(code: str, meant: str) -> None:
    with pytest.raises(OptionError, match=f"code '{code}'. Did you mean '{meant}'"):
        language_name(code)
