// The best position of each chunk, query and head in FP16, by tensor cores.
#pragma once

#include <cmath>
#include <cstdint>

#include <cuda_fp16.h>

#include "candidate.cuh"
#include "launch_plan.cuh"
#include "matrix_product.cuh"

namespace emca {

constexpr int kTileRows = 16;     // queries of one matrix product
constexpr int kTileColumns = 8;   // positions of one matrix product
constexpr int kMaxTiles = 8;      // tiles of queries that a block goes through
constexpr int kMaxWarps = 8;      // heads of a block, one to a warp
constexpr int kColumnTiles = kPositions / kTileColumns;

//! Which positions of the chunk each query of the block may pick.
//!
//! Bit 4j+t of `bits[row][e]` stands for position 8j+2t+e of the chunk: after a shift by t, lane t
//! of a quad finds its columns of the matrix products at multiples of four.
struct Visibility {
    std::uint32_t bits[kMaxTiles * kTileRows][2];
    bool any_visible[kMaxTiles * kTileRows];
};

//! Two neighbouring logits; only those inside are read, the others are 0.
__device__ inline float2 load_pair(__half const* logits, bool const (&inside)[2], bool aligned) {
    if (aligned && inside[1]) {
        return __half22float2(*reinterpret_cast<__half2 const*>(logits));
    }
    return {inside[0] ? __half2float(logits[0]) : 0.0F, inside[1] ? __half2float(logits[1]) : 0.0F};
}

//! Read the mask logits of the block's rows once, for all heads; every warp takes part.
__device__ inline void read_mask(Visibility& visibility, Shape const& shape, int rows, int first,
                                 __half const* __restrict__ mask_logits) {
    int const lane = threadIdx.x % kWarp;
    int const warps = blockDim.x / kWarp;
    int const position = first + 2 * lane;
    bool const aligned = shape.positions % 2 == 0;
    bool const inside[2] = {position < shape.positions, position + 1 < shape.positions};
    std::uint32_t const in_range[2] = {__ballot_sync(kAllLanes, inside[0]),
                                       __ballot_sync(kAllLanes, inside[1])};
#pragma unroll 4
    for (int row = threadIdx.x / kWarp; row < rows; row += warps) {
        std::int64_t const start = static_cast<std::int64_t>(row) * shape.positions + position;
        float2 const logits = load_pair(mask_logits + start, inside, aligned);
        std::uint32_t const even = __ballot_sync(kAllLanes, inside[0] && logits.x >= 0.0F);
        std::uint32_t const odd = __ballot_sync(kAllLanes, inside[1] && logits.y >= 0.0F);
        if (lane == 0) {
            bool const any = (even | odd) != 0;
            visibility.any_visible[row] = any;
            visibility.bits[row][0] = any ? even : in_range[0];
            visibility.bits[row][1] = any ? odd : in_range[1];
        }
    }
}

//! Four lanes, a quad, share a row; this lane's quarter of a head's channels, two to a register.
//!
//! The order of the channels inside a dot product is free as long as both sides share it, so each
//! lane takes neighbouring ones: one wide load instead of several narrow ones.
template <int kRegisters>
__device__ inline void load_quarter(std::uint32_t (&registers)[kRegisters], __half const* source) {
    static_assert(kRegisters == 2 || kRegisters % 4 == 0, "8 bytes or a multiple of 16");
    if constexpr (kRegisters == 2) {
        uint2 const pair = *reinterpret_cast<uint2 const*>(source);
        registers[0] = pair.x;
        registers[1] = pair.y;
    } else {
#pragma unroll
        for (int i = 0; i < kRegisters; i += 4) {
            uint4 const four = reinterpret_cast<uint4 const*>(source)[i / 4];
            registers[i] = four.x;
            registers[i + 1] = four.y;
            registers[i + 2] = four.z;
            registers[i + 3] = four.w;
        }
    }
}

//! Whether a bit is set, in one instruction; left alone, the compiler shifts, masks and compares.
__device__ inline bool has_bit(std::uint32_t bits, int index) {
    std::uint32_t result = bits & 1U << index;
#ifdef __CUDA_ARCH__
    asm("and.b32 %0, %1, %2;" : "=r"(result) : "r"(bits), "r"(1U << index));
#endif
    return result != 0;
}

//! Take over the candidate where it is allowed and better; called with rising positions.
__device__ inline void consider(Candidate& best, float similarity, int position, bool allowed) {
    bool const better = allowed && similarity > best.similarity;
    best.similarity = better ? similarity : best.similarity;
    best.position = better ? position : best.position;
}

//! The better of this lane's candidate and what the one `distance` lanes away sends.
__device__ inline Candidate better_of_pair(Candidate mine, Candidate sent, int distance) {
    Candidate other{};
    other.similarity = __shfl_xor_sync(kAllLanes, sent.similarity, distance);
    other.position = __shfl_xor_sync(kAllLanes, sent.position, distance);
    return is_better(other, mine) ? other : mine;
}

//! One head of 16 queries against the chunk: the best position, from the start of the chunk on, for
//! row g of the product in the even lanes of quad g, for row g+8 in the odd ones.
//!
//! \param query  this lane's channels of both rows
//! \param keys   this lane's channels of position g of each column tile
//! \param rows   both rows, counted from the block's first
template <int kRegisters>
__device__ inline Candidate best_of_tile(std::uint32_t const (&query)[2][kRegisters],
                                         std::uint32_t const (&keys)[kColumnTiles][kRegisters],
                                         Visibility const& visibility, int const (&rows)[2]) {
    int const lane = threadIdx.x % 4;
    Candidate best[2];
    LeftOperand left[kRegisters / 2];
#pragma unroll
    for (int k = 0; k < kRegisters / 2; ++k) {
        left[k] = {query[0][2 * k], query[1][2 * k], query[0][2 * k + 1], query[1][2 * k + 1]};
    }
    std::uint32_t bits[2][2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        best[half] = {-INFINITY, 0};
        bits[half][0] = visibility.bits[rows[half]][0] >> lane;
        bits[half][1] = visibility.bits[rows[half]][1] >> lane;
    }
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
        float similarity[4] = {0.0F, 0.0F, 0.0F, 0.0F};  // rows g, g, g+8, g+8; columns 2t, 2t+1
#pragma unroll
        for (int k = 0; k < kRegisters / 2; ++k) {
            multiply_16x8x16(similarity, left[k], {keys[j][2 * k], keys[j][2 * k + 1]});
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            bool const allowed = has_bit(bits[i / 2][i % 2], 4 * j);
            consider(best[i / 2], similarity[i], kTileColumns * j + i % 2, allowed);
        }
    }
    bool const odd = lane % 2 != 0;
    best[0].position += 2 * lane;
    best[1].position += 2 * lane;
    Candidate const mine = better_of_pair(odd ? best[1] : best[0], odd ? best[0] : best[1], 1);
    return better_of_pair(mine, mine, 2);
}

//! A warp keeps one head of the chunk's features in registers and passes the queries by them.
//!
//! \tparam kHeadChannels  channels of a head: 16, 32 or 64
//! \param keys  [B, M, h, chunks], one written for every query and head of the block
template <int kHeadChannels>
__global__ void __launch_bounds__(kMaxWarps* kWarp, kHeadChannels < 64 ? 2 : 1)
    select_tensor_cores(Shape shape, LaunchPlan plan, __half const* __restrict__ query,
                        __half const* __restrict__ feature, __half const* __restrict__ mask_logits,
                        Key* __restrict__ keys) {
    constexpr int kRegisters = kHeadChannels / 8;  // a quarter of the head, two channels to each
    __shared__ Visibility visibility;

    Place const place = place_of(plan, blockIdx.x);
    int const first = place.chunk * kPositions;
    int const rows = min(plan.rows, shape.queries - place.row);
    int const quad = threadIdx.x % kWarp / 4;
    int const lane = threadIdx.x % 4;
    int const warp_head = place.head + threadIdx.x / kWarp;
    bool const works = warp_head < shape.heads;  // else the warp only helps to read the mask
    int const head = min(warp_head, shape.heads - 1);
    int const channel = head * kHeadChannels + lane * (kHeadChannels / 4);
    std::int64_t const first_query =
        static_cast<std::int64_t>(place.batch) * shape.queries + place.row;

    std::int64_t const first_feature = static_cast<std::int64_t>(place.batch) * shape.positions;

    std::uint32_t chunk[kColumnTiles][kRegisters];
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {  // past the end the last again: never allowed there
        int const position = min(first + kTileColumns * j + quad, shape.positions - 1);
        load_quarter(chunk[j], feature + (first_feature + position) * shape.channels + channel);
    }
    read_mask(visibility, shape, rows, first, mask_logits + first_query * shape.positions);
    __syncthreads();
    if (!works) {
        return;
    }
    // Past the end the last row again, whose result is not written.
    auto const row_at = [&](int row) { return min(row, rows - 1); };
    auto const load_row = [&](std::uint32_t(&registers)[kRegisters], int row) {
        load_quarter(registers, query + (first_query + row_at(row)) * shape.channels + channel);
    };
    std::uint32_t next[2][kRegisters];  // loaded while the tile before is at work
    load_row(next[0], quad);
    load_row(next[1], quad + 8);
    for (int tile = quad; tile - quad < rows; tile += kTileRows) {
        std::uint32_t queries[2][kRegisters];
#pragma unroll
        for (int i = 0; i < kRegisters; ++i) {
            queries[0][i] = next[0][i];
            queries[1][i] = next[1][i];
        }
        load_row(next[0], tile + kTileRows);
        load_row(next[1], tile + kTileRows + 8);
        Candidate best = best_of_tile(queries, chunk, visibility, {row_at(tile), row_at(tile + 8)});
        int const row = tile + 8 * lane;
        if (lane < 2 && row < rows) {
            best.position += first;
            keys[key_index(shape, plan.chunks, place.batch, place.chunk, place.row + row, head)] =
                to_key(best, visibility.any_visible[row]);
        }
    }
}

}  // namespace emca
