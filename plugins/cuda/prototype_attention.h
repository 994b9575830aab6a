// PrototypeAttention on the GPU: the interface of the kernels, free of TensorRT.
#pragma once

#include <cstddef>
#include <cstdint>

#include <cuda_runtime_api.h>

namespace emca {

//! Number format of every tensor of one call; sums are always float.
enum class Precision : std::int32_t { kFloat32, kFloat16 };

//! Sizes of one call; channels is a multiple of heads, all are at least 1.
struct Shape {
    std::int32_t batch;      //!< B
    std::int32_t queries;    //!< M
    std::int32_t positions;  //!< N
    std::int32_t channels;   //!< C
    std::int32_t heads;      //!< h
};

//! Whether the kernels take these sizes; false for a size below 1, C > 512 or h not dividing C.
bool is_supported(Shape const& shape) noexcept;

//! Bytes of scratch memory that a call needs; it never shrinks when a size grows.
std::size_t workspace_size(Shape const& shape) noexcept;

//! Enqueue prototype[b,m] = concat_h feature[b, argmax_n similarity, h] and attended = query *
//! prototype; plugins/reference.py defines the arithmetic.
//!
//! Similarities are expected to be finite. One that is no number is never chosen; where there is no
//! other, some existing position is.
//!
//! All pointers are device memory, aligned to 16 bytes, contiguous in the order given.
//! \param query        [B,M,C]
//! \param feature      [B,N,C]
//! \param mask_logits  [B,M,N]
//! \param attended     [B,M,C]
//! \param prototype    [B,M,C]
//! \param workspace    workspace_size(shape) bytes; its content does not matter
//! \return the error of a launch, cudaErrorInvalidValue where is_supported is false, or
//!         cudaErrorMisalignedAddress
cudaError_t prototype_attention(Shape const& shape, Precision precision, void const* query,
                                void const* feature, void const* mask_logits, void* attended,
                                void* prototype, void* workspace, cudaStream_t stream) noexcept;

}  // namespace emca
