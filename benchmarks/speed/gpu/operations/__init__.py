"""The operations of :mod:`gptapps.kernels`, each with what is checked and what is timed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from benchmarks.speed.gpu.operations.activations import ACTIVATIONS
from benchmarks.speed.gpu.operations.attention import ATTENTION
from benchmarks.speed.gpu.operations.decode import DECODE
from benchmarks.speed.gpu.operations.loss import LOSS
from benchmarks.speed.gpu.operations.merge import MERGE
from benchmarks.speed.gpu.operations.norms import NORMS
from benchmarks.speed.gpu.operations.quantized import QUANTIZED
from benchmarks.speed.gpu.operations.rotary import ROTARY
from benchmarks.speed.gpu.operations.sampling import SAMPLING
from benchmarks.speed.gpu.work import Operation

OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        operation.name: operation
        for operation in (ATTENTION, MERGE, DECODE, NORMS, ACTIVATIONS, LOSS, ROTARY, QUANTIZED, SAMPLING)
    }
)
"""By name, in the order in which they are checked."""

PLAIN = frozenset({"linear", "low_rank_linear"})
"""What has no kernel of its own: matrix products of the vendor's library."""
