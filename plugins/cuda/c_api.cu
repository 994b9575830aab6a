// The kernels for callers without C++, such as the benchmark beside PyTorch.
#include "prototype_attention.h"

#define EMCA_API extern "C" __attribute__((visibility("default")))

namespace {

emca::Shape to_shape(std::int32_t const* sizes) {
    return {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]};
}

}  // namespace

//! \param sizes  B, M, N, C, h
EMCA_API std::size_t emca_workspace_size(std::int32_t const* sizes) {
    return emca::workspace_size(to_shape(sizes));
}

//! \param sizes    B, M, N, C, h
//! \param is_half  1 for FP16, 0 for FP32
//! \param tensors  query, feature, mask_logits, attended, prototype, workspace
//! \return a cudaError_t, 0 for success
EMCA_API std::int32_t emca_prototype_attention(std::int32_t const* sizes, std::int32_t is_half,
                                               void* const* tensors, void* stream) {
    auto const precision = is_half != 0 ? emca::Precision::kFloat16 : emca::Precision::kFloat32;
    return emca::prototype_attention(to_shape(sizes), precision, tensors[0], tensors[1], tensors[2],
                                     tensors[3], tensors[4], tensors[5],
                                     static_cast<cudaStream_t>(stream));
}
