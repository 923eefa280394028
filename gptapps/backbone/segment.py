"""Keys and values of a stretch of text that any number of rows share.

Symbols: L layers, K key/value heads, S tokens, D head size.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(slots=True, eq=False)
class Segment:
    """Immutable keys and values of a stretch of text, shared by rows and by the segments that continue it.

    Attributes:
        keys, values: (L, K, S, D).
        parent: the segment before this one; None at the start of the text.
        start: position of the first token.
        references: rows, child segments and other owners that still need it; at 0 the tensors are let go.
    """

    keys: Tensor
    values: Tensor
    parent: Segment | None = None
    start: int = field(init=False)
    references: int = field(init=False, default=1)

    def __post_init__(self) -> None:
        self.start = self.parent.end if self.parent else 0
        if self.parent:
            self.parent.retain()

    @property
    def end(self) -> int:
        """Position after the last token: the length of the text up to here."""
        return self.start + int(self.keys.shape[2])

    @property
    def bytes(self) -> int:
        """Memory held by this segment alone."""
        return self.keys.nbytes + self.values.nbytes

    def retain(self) -> Segment:
        """Count one more owner, and return the segment."""
        self.references += 1
        return self

    def release(self) -> None:
        """Count one owner less; the last one frees the memory, and the parent's share with it."""
        self.references -= 1
        if self.references == 0:
            self.keys = self.keys.new_empty(0)
            self.values = self.values.new_empty(0)
            if self.parent:
                self.parent.release()

    def chain(self) -> tuple[Segment, ...]:
        """Return the segments of the whole text, root first."""
        return (*(self.parent.chain() if self.parent else ()), self)
