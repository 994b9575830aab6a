// The sizes of a call, read from what TensorRT says of its inputs: query [B,M,C], feature [B,N,C]
// and mask_logits [B,M,N], in this order. Every function logs why it refuses.
#pragma once

#include <cstdint>
#include <optional>

#include <NvInferRuntime.h>

#include "../cuda/prototype_attention.h"

namespace emca {

//! Whether the three inputs can be called together, as far as is known while the network is made.
bool shapes_fit(nvinfer1::DimsExprs const* inputs, std::int32_t heads) noexcept;

//! The sizes that hold every call of a profile; nothing where the kernels refuse them.
std::optional<Shape> largest_shape(nvinfer1::DynamicPluginTensorDesc const* inputs,
                                   std::int32_t heads) noexcept;

//! The sizes of one call; nothing where the inputs do not fit or the kernels refuse them.
std::optional<Shape> exact_shape(nvinfer1::PluginTensorDesc const* inputs,
                                 std::int32_t heads) noexcept;

}  // namespace emca
