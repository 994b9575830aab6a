import pytest
import torch

from emca.errors import UserError
from train.precision import choose_precision, make_accelerator


def test_precision_names():
    assert choose_precision("fp32") == "no"
    assert choose_precision("bf16") == "bf16"
    assert choose_precision("auto") in ("no", "bf16", "fp16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_fp16_without_cuda_is_refused():
    with pytest.raises(UserError, match="precision=fp16 needs a CUDA device; use auto, bf16"):
        make_accelerator("fp16")
