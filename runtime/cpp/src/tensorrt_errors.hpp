// Whether an engine can run here, and what TensorRT means where it does not:
// runtime/backends/trt/checks.py.
#pragma once

#include <string>

#include <NvInferRuntime.h>

#include "cuda.hpp"
#include "engine_file.hpp"

namespace emca::detail {

//! The log that every runtime gets. TensorRT keeps the first that it is ever given, so there is one
//! for the whole process, which is never destroyed.
nvinfer1::ILogger& tensorrt_log();

//! The errors that this thread's calls logged since the last time, in one line.
std::string take_log();

//! \throw Error another version of TensorRT built the engine than runs here, or none is named
void check_version(EngineFile const& engine);

//! \throw Error the engine was built for another GPU
void check_gpu(EngineFile const& engine, Gpu const& gpu);

//! What to tell the user where TensorRT refuses an engine for `reason`.
Error explain(EngineFile const& engine, std::string const& reason, int device);

}  // namespace emca::detail
