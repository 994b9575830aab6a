// The tensor cores' matrix product, as the PTX ISA defines its operands.
#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

namespace emca {

//! Registers of one lane; g = lane / 4 and t = lane % 4 in what follows.
struct LeftOperand {
    std::uint32_t value[4];  //!< rows g, g+8, g, g+8; columns 2t and 2t+1, in the last two 8 more
};
struct RightOperand {
    std::uint32_t value[2];  //!< column g; rows 2t and 2t+1, in the last 8 more
};

//! sum += left [16,16] * right [16,8], FP16 with float sums, by all lanes of a warp together.
//!
//! \param sum  rows g, g, g+8, g+8; columns 2t, 2t+1, 2t, 2t+1 (PTX ISA, mma.m16n8k16, .f16)
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
__device__ inline void multiply_16x8x16(float (&sum)[4], LeftOperand left, RightOperand right) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(left.value[0]), "r"(left.value[1]), "r"(left.value[2]), "r"(left.value[3]),
          "r"(right.value[0]), "r"(right.value[1]));
}
#elif defined(__CUDACC__)
// Turing has the product of half the depth.
__device__ inline void multiply_16x8x16(float (&sum)[4], LeftOperand left, RightOperand right) {
    for (int half = 0; half < 2; ++half) {
        asm volatile(
            "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
            "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
            : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
            : "r"(left.value[2 * half]), "r"(left.value[2 * half + 1]), "r"(right.value[half]));
    }
}
#else
// Without a CUDA compiler only tests use it; they define it in software.
void multiply_16x8x16(float (&sum)[4], LeftOperand left, RightOperand right);
#endif

}  // namespace emca
