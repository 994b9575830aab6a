"""The number format that training computes in."""

from __future__ import annotations

import torch
from accelerate import Accelerator

from emca.errors import UserError


def choose_precision(name: str) -> str:
    """accelerate's name for a configured precision.

    "auto" is bf16 where the device computes in it natively, else fp16 on CUDA and fp32 on a CPU.

    Raises:
        UserError: fp16 without CUDA.
    """
    if name == "fp16" and not torch.cuda.is_available():
        raise UserError("precision=fp16 needs a CUDA device; use auto, bf16 or fp32")
    if name == "auto":
        if torch.cuda.is_available():
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        cpu = torch.cpu.get_capabilities()
        return "bf16" if cpu.get("avx512_bf16") or cpu.get("amx_bf16") else "no"
    return "no" if name == "fp32" else name


def make_accelerator(precision: str) -> Accelerator:
    """The accelerator that computes in a configured precision.

    Raises:
        UserError: a precision that this machine does not have.
    """
    try:
        return Accelerator(mixed_precision=choose_precision(precision))
    except ValueError as error:  # bf16 on a device without it
        raise UserError(f"precision={precision}: {error}; use auto or fp16") from None
