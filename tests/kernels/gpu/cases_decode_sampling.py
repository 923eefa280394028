"""What drawing tokens launches."""

from __future__ import annotations

import torch
from ahead_of_time import Case

from gptapps.kernels.gpu.sampling import sample


def draw(vocabulary: int, dtype: torch.dtype) -> object:
    decimals = torch.empty(8, device="meta")
    whole = torch.empty(8, dtype=torch.int64, device="meta")
    logits = torch.empty(8, vocabulary, dtype=dtype, device="meta")
    return sample(logits, decimals, whole, decimals, decimals, whole, whole)


CASES = [
    Case("fp32-49152-tokens", lambda: draw(49152, torch.float32)),
    Case("bf16-50257-tokens", lambda: draw(50257, torch.bfloat16)),
]
