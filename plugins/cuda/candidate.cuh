// The running maximum of PrototypeAttention: which position is the better prototype.
//
// Plain arithmetic, the same on the GPU and the CPU.
#pragma once

#include <cstdint>
#include <cstring>

#include <cuda_runtime_api.h>

namespace emca {

//! A position and its similarity to one query in one head.
struct Candidate {
    float similarity;
    std::int32_t position;
};

//! Whether `left` beats `right`: more similar, or as similar and at a lower position.
__host__ __device__ inline bool is_better(Candidate left, Candidate right) {
    return left.similarity > right.similarity ||
           (left.similarity == right.similarity && left.position < right.position);
}

//! The best candidate of a chunk of positions as one number; the greatest key of all chunks wins.
//!
//! From the top: one bit that is set where the query sees any position of the chunk, 32 bits that
//! order like the similarity, 31 bits that fall as the position rises. A chunk without a visible
//! position offers its best hidden one. That wins only where no chunk has the top bit, which is
//! the rule for a query that is masked everywhere.
using Key = std::uint64_t;

constexpr std::int32_t kLastPosition = 0x7fffffff;

//! Bits that order as unsigned numbers like the floats do; both zeros are one value.
__host__ __device__ inline std::uint32_t ordered_bits(float value) {
    value = value == 0.0F ? 0.0F : value;
    std::uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}

__host__ __device__ inline Key to_key(Candidate best, bool any_visible) {
    return static_cast<Key>(any_visible) << 63 |
           static_cast<Key>(ordered_bits(best.similarity)) << 31 |
           static_cast<Key>(kLastPosition - best.position);
}

__host__ __device__ inline std::int32_t position_of(Key key) {
    return kLastPosition - static_cast<std::int32_t>(key & kLastPosition);
}

}  // namespace emca
