// A GPU and a TensorRT made of host memory. Work that is queued is done when it is waited for, and
// what is captured is not done at all, so that a forgotten wait or a graph that is never launched
// shows in the results.
#pragma once

#include <functional>
#include <string>

#include <cuda_runtime_api.h>

namespace fake {

//! What the tests set and look at.
struct World {
    cudaError_t driver = cudaSuccess;  //!< what CUDA answers when it is first called
    int driver_version = 13000;
    int devices = 2;
    int major = 7, minor = 5;  //!< compute capability
    int allocations = 1000;    //!< until memory is out
    bool can_capture = true;
    bool runtime_fails = false;  //!< TensorRT's runtime logs an error but is there
    bool has_plugin = false;     //!< in TensorRT's registry
    bool refuses_plugins = false;
    bool other_plugins = false;  //!< initLibNvInferPlugins was called

    int live = 0;      //!< what was not given back yet
    int enqueued = 0;  //!< calls of enqueueV3
    int launches = 0;  //!< of graphs
    int profile = 0;   //!< that the last context was set to
    int device = 0;    //!< that work was last queued on
    bool host_code = false;
    std::string loaded;  //!< the plugin library
};
extern World world;

//! The plan's labels: the class of a pixel is (red + 2 green + 3 blue) mod 5.
inline int label(int red, int green, int blue) { return (red + 2 * green + 3 * blue) % 5; }

bool is_capturing(cudaStream_t stream);
//! Put work into a stream.
void queue(cudaStream_t stream, std::function<void()> work);

}  // namespace fake
