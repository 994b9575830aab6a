"""PrototypeAttention's CUDA kernels from PyTorch, and the same operator out of PyTorch's own."""

from __future__ import annotations

import ctypes
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

WARM_UP, ROUNDS = 100, 200
SIZES = (1024, 4096, 16384)  # positions
QUERIES, CHANNELS, HEADS = 100, 256, 8


class Kernels:
    """The library `emca_kernels` as a function of CUDA tensors."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.emca_workspace_size.restype = ctypes.c_size_t

    def __call__(
        self, query: Tensor, feature: Tensor, mask_logits: Tensor, num_heads: int
    ) -> tuple[Tensor, Tensor]:
        """attended and prototype, [B,M,C], on the current stream, in FP16 or FP32 like `query`.

        FP16 turns mask logits above -3e-8 into -0, which is visible.
        """
        if query.dtype not in (torch.float16, torch.float32):
            raise TypeError(f"query is {query.dtype}; the kernels take float16 and float32")
        query, feature, mask_logits = (
            x.to(query.dtype).contiguous() for x in (query, feature, mask_logits)
        )
        batch, queries, channels = query.shape
        sizes = (ctypes.c_int32 * 5)(batch, queries, feature.shape[1], channels, num_heads)
        attended, prototype = torch.empty_like(query), torch.empty_like(query)
        scratch = self._library.emca_workspace_size(sizes)
        workspace = torch.empty(scratch, dtype=torch.uint8, device=query.device)
        tensors = (query, feature, mask_logits, attended, prototype, workspace)
        error = self._library.emca_prototype_attention(
            sizes,
            int(query.dtype == torch.float16),
            (ctypes.c_void_p * 6)(*[x.data_ptr() for x in tensors]),
            ctypes.c_void_p(torch.cuda.current_stream().cuda_stream),
        )
        if error:
            raise RuntimeError(f"the kernels returned CUDA error {error} for sizes {list(sizes)}")
        return attended, prototype


class KernelAttention(nn.Module):
    """Stands in for `train.models.emca.PrototypeAttention`."""

    def __init__(self, kernels: Kernels, *, num_heads: int) -> None:
        super().__init__()
        self.kernels = kernels
        self.num_heads = num_heads

    def forward(self, query: Tensor, feature: Tensor, mask_logits: Tensor) -> tuple[Tensor, ...]:
        """Shapes as in `PrototypeAttention.forward`."""
        return self.kernels(query, feature, mask_logits, self.num_heads)


def unfused(
    query: Tensor, feature: Tensor, mask_logits: Tensor, num_heads: int
) -> tuple[Tensor, Tensor]:
    """The operator as a graph of PyTorch's: einsum, masked_fill, argmax, gather, multiply."""
    query_heads = query.unflatten(-1, (num_heads, -1))
    feature_heads = feature.unflatten(-1, (num_heads, -1))
    similarity = torch.einsum("bmhd,bnhd->bhmn", query_heads, feature_heads)
    hidden = mask_logits < 0
    hidden = hidden & ~hidden.all(-1, keepdim=True)
    nearest = similarity.masked_fill(hidden[:, None], float("-inf")).argmax(-1)
    index = nearest.transpose(1, 2)[..., None].expand(-1, -1, -1, query_heads.shape[-1])
    prototype = feature_heads.gather(1, index).flatten(2)
    return query * prototype, prototype


def random_inputs(positions: int, device: str = "cuda") -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors and mask logits in FP16, every third query masked everywhere."""
    generator = torch.Generator().manual_seed(0)
    query, feature = (
        nn.functional.normalize(torch.randn(1, n, CHANNELS, generator=generator), dim=-1)
        for n in (QUERIES, positions)
    )
    mask = torch.randn(1, QUERIES, positions, generator=generator) - 1
    mask[:, 1::3] = -mask[:, 1::3].abs() - 0.1
    return tuple(x.to(device, torch.float16) for x in (query, feature, mask))


def captured(function: Callable[[], Any]) -> Callable[[], None]:
    """The function as a CUDA graph, to be replayed."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            function()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


def medians(
    functions: Mapping[str, Callable[[], Any]], *, rounds: int = ROUNDS, cold: bool = True
) -> dict[str, float]:
    """Median milliseconds of each on the GPU, taking turns.

    Before every call the GPU reads and writes memory of its own: the call's tensors are out of the
    L2 cache then (`cold`; less of it otherwise), and the GPU is busy until the call is queued.
    """
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    size = (2 * cache if cold else cache // 8) // 4
    written, read = (torch.zeros(size, device="cuda") for _ in range(2))
    times: dict[str, list[float]] = {name: [] for name in functions}
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for count in range(WARM_UP + rounds):
        for name, function in functions.items():
            written.zero_()
            read.sum()
            began.record()
            function()
            ended.record()
            torch.cuda.synchronize()
            if count >= WARM_UP:  # before, an idle GPU's clocks rise
                times[name].append(began.elapsed_time(ended))
    return {name: statistics.median(values) for name, values in times.items()}


def measure(kernels: Kernels) -> list[dict[str, Any]]:
    """The kernels beside the unfused operators, all FP16 and as CUDA graphs, for each size."""
    variants = {"kernels": kernels, "unfused": unfused}
    missing = ""
    try:
        compiled = torch.compile(unfused, dynamic=False)
        compiled(*random_inputs(SIZES[0]), HEADS)
        variants["torch_compile"] = compiled
    except Exception as error:  # no compiler, Triton or Python headers: of no common class
        missing = f"not run: {str(error).strip().splitlines()[-1]}"
    rows = []
    for positions in SIZES:
        inputs = random_inputs(positions)
        graphs = {
            name: captured(partial(function, *inputs, HEADS)) for name, function in variants.items()
        }
        microseconds = {name: 1000 * ms for name, ms in medians(graphs).items()}
        rows.append(
            {
                "positions": positions,
                "median_us": {name: round(us, 2) for name, us in microseconds.items()},
                "unfused_over_kernels": round(microseconds["unfused"] / microseconds["kernels"], 2),
                **({"torch_compile": missing} if missing else {}),
            }
        )
    return rows
