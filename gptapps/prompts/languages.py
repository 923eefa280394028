"""What languages are called, in the languages that have prompts."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gptapps.errors import OptionError
from gptapps.registry import suggestion

_NAMES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "ar": ("Arabic", "阿拉伯语"),
        "bg": ("Bulgarian", "保加利亚语"),
        "bn": ("Bengali", "孟加拉语"),
        "ca": ("Catalan", "加泰罗尼亚语"),
        "cs": ("Czech", "捷克语"),
        "da": ("Danish", "丹麦语"),
        "de": ("German", "德语"),
        "el": ("Greek", "希腊语"),
        "en": ("English", "英语"),
        "es": ("Spanish", "西班牙语"),
        "et": ("Estonian", "爱沙尼亚语"),
        "fa": ("Persian", "波斯语"),
        "fi": ("Finnish", "芬兰语"),
        "fr": ("French", "法语"),
        "he": ("Hebrew", "希伯来语"),
        "hi": ("Hindi", "印地语"),
        "hr": ("Croatian", "克罗地亚语"),
        "hu": ("Hungarian", "匈牙利语"),
        "id": ("Indonesian", "印尼语"),
        "it": ("Italian", "意大利语"),
        "ja": ("Japanese", "日语"),
        "ko": ("Korean", "韩语"),
        "lt": ("Lithuanian", "立陶宛语"),
        "lv": ("Latvian", "拉脱维亚语"),
        "ms": ("Malay", "马来语"),
        "nl": ("Dutch", "荷兰语"),
        "no": ("Norwegian", "挪威语"),
        "pl": ("Polish", "波兰语"),
        "pt": ("Portuguese", "葡萄牙语"),
        "ro": ("Romanian", "罗马尼亚语"),
        "ru": ("Russian", "俄语"),
        "sk": ("Slovak", "斯洛伐克语"),
        "sl": ("Slovenian", "斯洛文尼亚语"),
        "sr": ("Serbian", "塞尔维亚语"),
        "sv": ("Swedish", "瑞典语"),
        "sw": ("Swahili", "斯瓦希里语"),
        "ta": ("Tamil", "泰米尔语"),
        "th": ("Thai", "泰语"),
        "tr": ("Turkish", "土耳其语"),
        "uk": ("Ukrainian", "乌克兰语"),
        "ur": ("Urdu", "乌尔都语"),
        "vi": ("Vietnamese", "越南语"),
        "zh": ("Chinese", "中文"),
    }
)

LANGUAGES: Final = tuple(_NAMES)
"""Codes of the languages that can be named in a prompt."""


def language_name(code: str, prompt_language: str = "en") -> str:
    """Return what the language ``code`` is called in a prompt.

    Args:
        code: ISO 639-1 code, such as ``"fr"``.
        prompt_language: language of the prompt; names exist in English and Chinese, others get the English one.

    Raises:
        OptionError: no such language is known here; the message suggests the nearest code.

    Example:
        >>> language_name("fr"), language_name("fr", "zh")
        ('French', '法语')
    """
    if code not in _NAMES:
        by_name = {english.casefold(): known for known, (english, _) in _NAMES.items()}
        meant = by_name.get(code.casefold())
        hint = f" Did you mean {meant!r}?" if meant else suggestion(code, _NAMES)
        raise OptionError(f"There is no language with the code {code!r}.{hint} Known codes: {', '.join(_NAMES)}.")
    english, chinese = _NAMES[code]
    return chinese if prompt_language == "zh" else english
