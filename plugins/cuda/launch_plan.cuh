// How a call is cut into thread blocks, for both kernels that select prototypes.
#pragma once

#include <cstdint>

#include "prototype_attention.h"

namespace emca {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffU;
constexpr int kPositions = 64;  //!< positions of a chunk: what one block looks at

__host__ __device__ inline std::int32_t ceil_div(std::int32_t value, std::int32_t step) {
    return (value - 1) / step + 1;
}

//! A block takes one chunk of positions, some rows (queries) and some heads of one batch element.
struct LaunchPlan {
    std::int32_t chunks;
    std::int32_t rows;  //!< queries of a block
    std::int32_t row_groups;
    std::int32_t heads;  //!< heads of a block
    std::int32_t head_groups;
};

//! What one block works on: the first of each, in the units of Shape.
struct Place {
    std::int32_t batch;
    std::int32_t head;
    std::int32_t row;
    std::int32_t chunk;
};

//! The chunk runs fastest, so that neighbouring blocks read neighbouring memory.
__host__ __device__ inline Place place_of(LaunchPlan const& plan, std::uint32_t block) {
    Place place{};
    place.chunk = static_cast<std::int32_t>(block % plan.chunks);
    block /= plan.chunks;
    place.row = static_cast<std::int32_t>(block % plan.row_groups) * plan.rows;
    block /= plan.row_groups;
    place.head = static_cast<std::int32_t>(block % plan.head_groups) * plan.heads;
    place.batch = static_cast<std::int32_t>(block / plan.head_groups);
    return place;
}

//! Where the key of a chunk, query and head stands among the keys: [B, M, h, chunks].
__host__ __device__ inline std::int64_t key_index(Shape const& shape, std::int32_t chunks,
                                                  std::int32_t batch, std::int32_t chunk,
                                                  std::int32_t row, std::int32_t head) {
    std::int64_t const query = static_cast<std::int64_t>(batch) * shape.queries + row;
    return (query * shape.heads + head) * chunks + chunk;
}

}  // namespace emca
