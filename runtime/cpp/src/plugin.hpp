// Finds libemca_plugin.so and loads it: plugins/library.py.
#pragma once

#include <filesystem>

#include <NvInferRuntime.h>

namespace emca::detail {

// OP_TYPE of plugins/names.py.
inline constexpr char const* kPlugin = "PrototypeAttention";

//! Make PrototypeAttention known to TensorRT; a registry that has it already stays as it is.
//!
//! \param named the library; empty to look for it
//! \throw Error no library is there, it cannot be loaded, or it holds another version
void load_plugin(nvinfer1::IPluginRegistry& registry, std::filesystem::path const& named);

}  // namespace emca::detail
