// CUDA's memory, streams and graphs as owners.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <cuda_runtime_api.h>

#include "emca/segmenter.hpp"

namespace emca::detail {

//! \throw Error the call failed; `what` says what was tried
void check(cudaError_t result, char const* what);

//! A GPU as it stands.
struct Gpu {
    std::string name;
    int major, minor;         //!< compute capability
    std::size_t free, total;  //!< bytes of memory

    std::string compute_capability() const;
};

//! \throw Error no driver, no GPU, or no GPU of this number
void check_device(int device);
Gpu describe(int device);

//! Makes a GPU the thread's own for as long as it lives, then gives the thread its last one back.
class DeviceScope {
public:
    explicit DeviceScope(int device);
    ~DeviceScope() { cudaSetDevice(previous_); }
    DeviceScope(DeviceScope const&) = delete;
    DeviceScope& operator=(DeviceScope const&) = delete;

private:
    int previous_ = 0;
};

struct Release {
    void operator()(CUstream_st* stream) const noexcept { cudaStreamDestroy(stream); }
    void operator()(CUgraphExec_st* graph) const noexcept { cudaGraphExecDestroy(graph); }
};
using Stream = std::unique_ptr<CUstream_st, Release>;
using Graph = std::unique_ptr<CUgraphExec_st, Release>;

Stream make_stream();

//! A tensor of bytes on the device, and pinned on the host so that copies run on their own.
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(std::size_t size);

    std::uint8_t* host() const { return host_.get(); }
    void* device() const { return device_.get(); }
    //! Queue a copy to the device or back.
    void upload(cudaStream_t stream) const;
    void download(cudaStream_t stream) const;

private:
    struct FreeHost {
        void operator()(std::uint8_t* memory) const noexcept { cudaFreeHost(memory); }
    };
    struct FreeDevice {
        void operator()(std::uint8_t* memory) const noexcept { cudaFree(memory); }
    };
    std::size_t size_ = 0;
    std::unique_ptr<std::uint8_t, FreeHost> host_;
    std::unique_ptr<std::uint8_t, FreeDevice> device_;
};

}  // namespace emca::detail
