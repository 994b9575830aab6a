// PrototypeAttention in two launches: select the best position chunk by chunk, then gather.
//
// The similarity [B,h,M,N] never exists in memory. A block of the first kernel holds one chunk of
// 64 positions, lets all queries pass by it and leaves one key of 8 bytes for each query and head;
// the second kernel takes the greatest key over the chunks, copies the prototype and multiplies.
//
// What bounds it: FP16, B = 1, M = 100, C = 256, h = 8, each tensor read or written once:
//
//   bytes  2 (N C + M N + 3 M C)
//   flops  2 M' N C in the tensor cores, M' = 112: M in tiles of 16
//   steps  4 M' h N instructions of the running maximum (test the mask, compare, two selections)
//
//                 N = 1024            N = 4096            N = 16384
//                 0.88 MB  59 MFLOP   3.1 MB  235 MFLOP   11.8 MB  940 MFLOP
//   T4            2.8 us              9.6 us              36.9 us  bytes, 320 GB/s
//                 0.9                 3.6                 14.5     flops, 65 TFLOP/s
//                 0.9                 3.6                 14.4     steps, 40 SMs x 64 x 1.59 GHz
//   H200          0.2                 0.6                 2.5      bytes, 4.8 TB/s
//                 0.1                 0.2                 0.9      flops, 990 TFLOP/s
//                 0.2                 0.9                 3.5      steps, 132 SMs x 64 x 1.98 GHz
//
// Steps are compares, selections and logic, of which a multiprocessor does 64 a cycle (CUDA
// programming guide, arithmetic throughput). So memory bounds it on a T4 and the running maximum on
// an H200, where two launches alone last longer except at the largest N. Not counted: the keys,
// 1.6 MB at N = 16384, written and read, in the L2 cache where it is large enough. What was
// measured stands in benchmarks/.
#include "prototype_attention.h"

#include <algorithm>

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "candidate.cuh"
#include "launch_plan.cuh"
#include "select_plain.cuh"
#include "select_tensor_cores.cuh"

namespace emca {
namespace {

constexpr std::int32_t kMaxChannels = 512;
constexpr std::uintptr_t kAlignment = 16;  // of the widest loads
constexpr unsigned kFinishThreads = 256;

__device__ inline float product(float left, float right) { return left * right; }
__device__ inline __half product(__half left, __half right) { return __hmul(left, right); }

//! The greatest key of one query and head, by all lanes of a warp.
__device__ inline Key greatest_key(Shape const& shape, std::int32_t chunks, int batch, int row,
                                   int head, Key const* __restrict__ keys) {
    Key best = 0;
    for (int chunk = threadIdx.x % kWarp; chunk < chunks; chunk += kWarp) {
        best = max(best, keys[key_index(shape, chunks, batch, chunk, row, head)]);
    }
    for (int distance = 1; distance < kWarp; distance *= 2) {
        best = max(best, static_cast<Key>(__shfl_xor_sync(kAllLanes, best, distance)));
    }
    return best;
}

//! A block finishes one query, its warps the heads in turn.
template <typename T>
__global__ void __launch_bounds__(kFinishThreads)
    gather(Shape shape, std::int32_t chunks, T const* __restrict__ query,
           T const* __restrict__ feature, Key const* __restrict__ keys, T* __restrict__ attended,
           T* __restrict__ prototype) {
    int const batch = static_cast<int>(blockIdx.x / shape.queries);
    int const row = static_cast<int>(blockIdx.x % shape.queries);
    int const channels = shape.channels / shape.heads;
    for (int head = threadIdx.x / kWarp; head < shape.heads; head += kFinishThreads / kWarp) {
        int const position =
            position_of(greatest_key(shape, chunks, batch, row, head, keys));
        std::int64_t const source =
            (static_cast<std::int64_t>(batch) * shape.positions + position) * shape.channels;
        std::int64_t const target = static_cast<std::int64_t>(blockIdx.x) * shape.channels;
        for (int i = threadIdx.x % kWarp; i < channels; i += kWarp) {
            int const channel = head * channels + i;
            T const chosen = feature[source + channel];
            prototype[target + channel] = chosen;
            attended[target + channel] = product(query[target + channel], chosen);
        }
    }
}

std::int64_t blocks_of(LaunchPlan const& plan, std::int32_t batch) {
    return static_cast<std::int64_t>(plan.chunks) * plan.row_groups * plan.head_groups * batch;
}

LaunchPlan plan_plain(Shape const& shape) {
    return {ceil_div(shape.positions, kPositions), kPlainRows, ceil_div(shape.queries, kPlainRows),
            1, shape.heads};
}

//! Few chunks would leave multiprocessors idle, so the queries are split as well while all blocks
//! still run at once, two of 8 warps on a multiprocessor; more would wait for a second round.
LaunchPlan plan_tensor_cores(Shape const& shape, int multiprocessors) {
    LaunchPlan plan{};
    plan.chunks = ceil_div(shape.positions, kPositions);
    plan.heads = std::min(shape.heads, kMaxWarps);
    plan.head_groups = ceil_div(shape.heads, plan.heads);
    std::int64_t const at_once = 2 * kMaxWarps / plan.heads * multiprocessors;
    auto const with_tiles = [&](std::int32_t tiles) {
        LaunchPlan cut = plan;
        cut.rows = tiles * kTileRows;
        cut.row_groups = ceil_div(shape.queries, cut.rows);
        return cut;
    };
    std::int32_t tiles = std::min(ceil_div(shape.queries, kTileRows), kMaxTiles);
    while (tiles > 1 && blocks_of(with_tiles(ceil_div(tiles, 2)), shape.batch) <= at_once) {
        tiles = ceil_div(tiles, 2);
    }
    return with_tiles(tiles);
}

template <typename... Parameters, typename... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), std::int64_t blocks, unsigned threads,
                   cudaStream_t stream, Arguments... arguments) {
    if (blocks > 0x7fffffff) {
        return cudaErrorInvalidValue;
    }
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(threads);
    config.stream = stream;
    return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

//! The tensors of one call, in one format.
template <typename T>
struct Tensors {
    T const* query;
    T const* feature;
    T const* mask_logits;
    T* attended;
    T* prototype;
    Key* keys;
    cudaStream_t stream;
};

template <typename T>
cudaError_t select_by_plain_kernel(Shape const& shape, Tensors<T> const& to) {
    LaunchPlan const plan = plan_plain(shape);
    return launch(select_plain<T>, blocks_of(plan, shape.batch), kPlainThreads, to.stream, shape,
                  plan, to.query, to.feature, to.mask_logits, to.keys);
}

cudaError_t select(Shape const& shape, Tensors<float> const& to) {
    return select_by_plain_kernel(shape, to);
}

cudaError_t select(Shape const& shape, Tensors<__half> const& to) {
    int const channels = shape.channels / shape.heads;
    if (channels != 16 && channels != 32 && channels != 64) {
        return select_by_plain_kernel(shape, to);
    }
    int device = 0;
    int multiprocessors = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (error == cudaSuccess) {
        error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
    }
    if (error != cudaSuccess) {
        return error;
    }
    LaunchPlan const plan = plan_tensor_cores(shape, multiprocessors);
    auto* kernel = channels == 16   ? select_tensor_cores<16>
                   : channels == 32 ? select_tensor_cores<32>
                                    : select_tensor_cores<64>;
    return launch(kernel, blocks_of(plan, shape.batch), plan.heads * kWarp, to.stream, shape, plan,
                  to.query, to.feature, to.mask_logits, to.keys);
}

template <typename T>
cudaError_t run(Shape const& shape, Tensors<T> const& to) {
    cudaError_t const error = select(shape, to);
    if (error != cudaSuccess) {
        return error;
    }
    std::int64_t const rows = static_cast<std::int64_t>(shape.batch) * shape.queries;
    return launch(gather<T>, rows, kFinishThreads, to.stream, shape,
                  ceil_div(shape.positions, kPositions), to.query, to.feature, to.keys, to.attended,
                  to.prototype);
}

template <typename T>
Tensors<T> tensors(void const* query, void const* feature, void const* mask_logits, void* attended,
                   void* prototype, void* workspace, cudaStream_t stream) {
    return {static_cast<T const*>(query),
            static_cast<T const*>(feature),
            static_cast<T const*>(mask_logits),
            static_cast<T*>(attended),
            static_cast<T*>(prototype),
            static_cast<Key*>(workspace),
            stream};
}

}  // namespace

bool is_supported(Shape const& shape) noexcept {
    std::int32_t const smallest = std::min(
        {shape.batch, shape.queries, shape.positions, shape.channels, shape.heads});
    return smallest >= 1 && shape.channels <= kMaxChannels && shape.channels % shape.heads == 0;
}

std::size_t workspace_size(Shape const& shape) noexcept {
    std::size_t const chunks = ceil_div(shape.positions, kPositions);
    return sizeof(Key) * shape.batch * chunks * shape.queries * shape.heads;
}

cudaError_t prototype_attention(Shape const& shape, Precision precision, void const* query,
                                void const* feature, void const* mask_logits, void* attended,
                                void* prototype, void* workspace, cudaStream_t stream) noexcept {
    if (!is_supported(shape)) {
        return cudaErrorInvalidValue;
    }
    for (void const* pointer : {query, feature, mask_logits, static_cast<void const*>(attended),
                                static_cast<void const*>(prototype),
                                static_cast<void const*>(workspace)}) {
        if (reinterpret_cast<std::uintptr_t>(pointer) % kAlignment != 0) {
            return cudaErrorMisalignedAddress;
        }
    }
    if (precision == Precision::kFloat16) {
        return run(shape, tensors<__half>(query, feature, mask_logits, attended, prototype,
                                          workspace, stream));
    }
    return run(shape, tensors<float>(query, feature, mask_logits, attended, prototype, workspace,
                                     stream));
}

}  // namespace emca
