"""What is wrong with training data, and how it is told: as one message, as a table, as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from gptapps.errors import DataError
from gptapps.evaluation.tables import aligned
from gptapps.training.data import TrainingData

Severity = Literal["fatal", "warning"]
Kind = Literal[
    "unreadable",
    "wrong_encoding",
    "same_data",
    "wrong_column",
    "missing",
    "unknown_label",
    "empty",
    "unusable",
    "single_label",
    "wrong_language",
    "target_too_long",
    "input_too_long",
    "answer_cut_off",
    "answer_not_in_context",
    "conflict",
    "leak",
    "near_leak",
    "shared_context",
    "absent_label",
    "similar_labels",
    "imbalance",
    "duplicate",
    "garbled",
]
"""The most important first; findings are told in this order."""

_ORDER = {kind: place for place, kind in enumerate(get_args(Kind))}
_LINE = re.compile(r"(?::| row )(?P<line>\d+)$")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with the data.

    Attributes:
        severity: ``"fatal"`` where nothing can be learned before it is mended.
        kind: which check found it.
        what: a clause that says what is wrong.
        remedy: a clause that says what to do.
        file: in which data; None where it is about all of it.
        row: line of the file, or number of the row, where it is first met; None where it is about the whole file.
        column: of the data, where it is about one.
        count: rows it is about.
    """

    severity: Severity
    kind: Kind
    what: str
    remedy: str
    file: str | None = None
    row: int | None = None
    column: str | None = None
    count: int = 0

    @property
    def place(self) -> str:
        """File and line, as messages name them."""
        return (self.file or "") + ("" if self.row is None else f":{self.row}")

    @property
    def sentence(self) -> str:
        """All of it, for a person."""
        others = f" and {_rows(self.count - 1, 'other ')}" if self.row is not None and self.count > 1 else ""
        return f"{self.place}{others}: {self.what}: {self.remedy}." if self.file else f"{self.what}: {self.remedy}."


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What an examination of the data found.

    Attributes:
        findings: fatal ones first, the most important first.
        data: the training data; None where something is fatal.
    """

    findings: tuple[Finding, ...]
    data: TrainingData | None

    @property
    def fatal(self) -> tuple[Finding, ...]:
        """What has to be mended first."""
        return tuple(finding for finding in self.findings if finding.severity == "fatal")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What had better be mended."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    @property
    def table(self) -> str:
        """The findings for a terminal; an empty text where there are none."""
        lines = [["", "where", "column", "rows", "what"]]
        for finding in self.findings:
            where = finding.place if finding.file is None else finding.place.replace(finding.file, _short(finding.file))
            count = f"{finding.count:,}" if finding.count else ""
            lines.append([finding.severity, where, finding.column or "", count, f"{finding.what}: {finding.remedy}"])
        return aligned(lines) if self.findings else ""

    def as_dict(self) -> dict[str, Any]:
        """Return the findings, and which data this is, for a JSON line."""
        data = None if self.data is None else self.data.as_dict()
        return {"healthy": not self.fatal, "findings": [asdict(one) for one in self.findings], "data": data}

    def require(self) -> TrainingData:
        """Return the training data.

        Raises:
            DataError: something is fatal; the message has all of that.
        """
        if self.data is not None:
            return self.data
        sentences = [finding.sentence for finding in self.fatal]
        if len(sentences) == 1:
            raise DataError(sentences[0])
        listed = "\n".join(f"  {number}. {sentence}" for number, sentence in enumerate(sentences, 1))
        raise DataError(f"The data can't be learned from before {len(sentences)} things are mended.\n{listed}")


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings as they are told: fatal ones first, then by kind, then as they came."""
    return tuple(sorted(findings, key=lambda finding: (finding.severity != "fatal", _ORDER[finding.kind])))


def place_of(where: str) -> tuple[str, int | None]:
    """Return the file and the line that a row's place names.

    Example:
        >>> place_of("data/train.csv:12"), place_of("hub:org/name:train row 3")
        (('data/train.csv', 12), ('hub:org/name:train', 3))
    """
    found = _LINE.search(where)
    return (where[: found.start()], int(found["line"])) if found else (where, None)


def _rows(count: int, kind: str = "") -> str:
    return f"{count:,} {kind}row{'' if count == 1 else 's'}"


def _short(file: str) -> str:
    return file if file.startswith("hub:") else Path(file).name
