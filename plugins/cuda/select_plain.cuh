// The best position of each chunk, query and head in any format and shape, without tensor cores.
#pragma once

#include <cmath>
#include <cstdint>

#include <cuda_fp16.h>

#include "candidate.cuh"
#include "launch_plan.cuh"

namespace emca {

constexpr int kSide = 16;                          // threads of a block: 16 by 16
constexpr int kPlainRows = 2 * kSide;              // queries of a block, two to a thread
constexpr int kColumns = kPositions / kSide;       // positions of a thread
constexpr int kSlab = 32;                          // channels in shared memory at a time
constexpr int kPlainThreads = kSide * kSide;

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__half value) { return __half2float(value); }

//! Copy `count` rows of a slab of channels to shared memory; rows and channels that do not exist
//! become zero, which changes no dot product.
//!
//! \param source    the first row's first channel of the slab
//! \param existing  rows that there are
//! \param channels  channels of the slab
template <int kRows, typename T>
__device__ inline void load_slab(float (&slab)[kRows][kSlab + 1], T const* __restrict__ source,
                                 int stride, int existing, int channels) {
    int const channel = threadIdx.x % kSlab;
    for (int row = threadIdx.x / kSlab; row < kRows; row += kPlainThreads / kSlab) {
        bool const exists = row < existing && channel < channels;
        slab[row][channel] =
            exists ? to_float(source[static_cast<std::int64_t>(row) * stride + channel]) : 0.0F;
    }
}

//! similarity[i][j] of the thread's rows y, y+16 and positions x, x+16, x+32, x+48.
template <typename T>
__device__ inline void similarities(float (&similarity)[2][kColumns], T const* __restrict__ query,
                                    T const* __restrict__ feature, int rows, int positions,
                                    int channels, int stride) {
    // One column more than needed, so that the rows of a column lie in different banks.
    __shared__ float queries[kPlainRows][kSlab + 1];
    __shared__ float features[kPositions][kSlab + 1];
    int const x = threadIdx.x % kSide;
    int const y = threadIdx.x / kSide;
    for (int start = 0; start < channels; start += kSlab) {
        load_slab(queries, query + start, stride, rows, channels - start);
        load_slab(features, feature + start, stride, positions, channels - start);
        __syncthreads();
#pragma unroll 8
        for (int c = 0; c < kSlab; ++c) {
            for (int i = 0; i < 2; ++i) {
                for (int j = 0; j < kColumns; ++j) {
                    similarity[i][j] += queries[y + kSide * i][c] * features[x + kSide * j][c];
                }
            }
        }
        __syncthreads();
    }
}

//! The best of one row's positions, which 16 neighbouring lanes hold, in each of them.
//!
//! \param logits       the row's mask logits from the chunk's first position on
//! \param positions    positions of the chunk
//! \param any_visible  set to whether the row sees any of them
template <typename T>
__device__ inline Candidate best_of_row(float const (&similarity)[kColumns],
                                        T const* __restrict__ logits, int positions,
                                        bool& any_visible) {
    int const x = threadIdx.x % kSide;
    bool visible[kColumns];
    int seen = 0;
    for (int j = 0; j < kColumns; ++j) {
        int const position = x + kSide * j;
        visible[j] = position < positions && to_float(logits[position]) >= 0.0F;
        seen |= visible[j] ? 1 : 0;
    }
    for (int distance = 1; distance < kSide; distance *= 2) {
        seen |= __shfl_xor_sync(kAllLanes, seen, distance);
    }
    any_visible = seen != 0;

    Candidate best{-INFINITY, 0};
    for (int j = 0; j < kColumns; ++j) {
        Candidate const next{similarity[j], x + kSide * j};
        bool const allowed = any_visible ? visible[j] : next.position < positions;
        best = allowed && next.similarity > best.similarity ? next : best;
    }
    for (int distance = 1; distance < kSide; distance *= 2) {
        Candidate other{};
        other.similarity = __shfl_xor_sync(kAllLanes, best.similarity, distance);
        other.position = __shfl_xor_sync(kAllLanes, best.position, distance);
        best = is_better(other, best) ? other : best;
    }
    return best;
}

//! \param keys  [B, M, h, chunks], one written for every query of the block in its head
template <typename T>
__global__ void __launch_bounds__(kPlainThreads)
    select_plain(Shape shape, LaunchPlan plan, T const* __restrict__ query,
                 T const* __restrict__ feature, T const* __restrict__ mask_logits,
                 Key* __restrict__ keys) {
    Place const place = place_of(plan, blockIdx.x);
    int const first = place.chunk * kPositions;
    int const rows = min(plan.rows, shape.queries - place.row);
    int const positions = min(kPositions, shape.positions - first);
    int const channels = shape.channels / shape.heads;
    std::int64_t const first_query =
        static_cast<std::int64_t>(place.batch) * shape.queries + place.row;
    std::int64_t const first_feature =
        static_cast<std::int64_t>(place.batch) * shape.positions + first;
    int const channel = place.head * channels;

    float similarity[2][kColumns] = {};
    similarities(similarity, query + first_query * shape.channels + channel,
                 feature + first_feature * shape.channels + channel, rows, positions, channels,
                 shape.channels);
    for (int i = 0; i < 2; ++i) {
        int const row = threadIdx.x / kSide + kSide * i;
        std::int64_t const readable = first_query + min(row, rows - 1);
        bool any_visible = false;
        Candidate best = best_of_row(similarity[i],
                                     mask_logits + readable * shape.positions + first, positions,
                                     any_visible);
        if (threadIdx.x % kSide == 0 && row < rows) {
            best.position += first;
            keys[key_index(shape, plan.chunks, place.batch, place.chunk, place.row + row,
                           place.head)] = to_key(best, any_visible);
        }
    }
}

}  // namespace emca
