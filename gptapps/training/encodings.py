"""Which encoding a text file is in that is no UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from pathlib import Path

_SAMPLE = 1_000_000  # bytes that are looked at

_MARKS: Mapping[bytes, str] = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}

# What is common in texts of each encoding. Bytes of one are often bytes of another too, but then make rare characters.
_COMMON: Mapping[str, str] = {
    "GB18030": "的一是不了在有人我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得着下自之年过发后作里",
    "Big5": "的一是不了在有人我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得著下自之年過發後作裡",
    "Shift_JIS": "のにはをたがでてとしれさいるなかもっられこすうくあり、。",
    "EUC-KR": "이다의는에을가고를한은로하지도사으서기어나인대자시리정있그",
    "Windows-1252": "éèêàâçîïôùûëäöüßÄÖÜñáíóúãõåæøÉ€’‘“”–—…«»£°§",
    "Windows-1251": "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё",
}
_LEAST = 0.15  # share of the characters beyond ASCII that have to be common ones


def encoding_of(path: Path) -> str | None:
    """Return the name by which ``iconv`` knows a file's encoding; None where it is UTF-8 or can't be told.

    Raises:
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        data = file.read(_SAMPLE)
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            return name
    if b"\0" in data:
        return "UTF-16LE" if data[1:2] == b"\0" else "UTF-16BE"
    if len(data) == _SAMPLE:
        data = data[: data.rfind(b"\n") + 1] or data
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        scores = {name: _common_share(data, name, common) for name, common in _COMMON.items()}
        best = max(scores, key=lambda name: scores[name])
        return best if scores[best] >= _LEAST else None
    return None


def _common_share(data: bytes, encoding: str, common: str) -> float:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return 0.0
    beyond = [character for character in text if character > "\x7f"]
    return sum(character in common for character in beyond) / max(len(beyond), 1)
