#include "fake.hpp"

#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

using Work = std::vector<std::function<void()>>;

struct CUgraph_st {
    Work work;
};
struct CUgraphExec_st {
    Work work;
};
struct CUstream_st {
    Work waiting;
    CUgraph_st* captured = nullptr;
};

namespace fake {

World world;

bool is_capturing(cudaStream_t stream) { return stream->captured != nullptr; }

void queue(cudaStream_t stream, std::function<void()> work) {
    Work& target = stream->captured != nullptr ? stream->captured->work : stream->waiting;
    target.push_back(std::move(work));
}

}  // namespace fake

using fake::world;

namespace {

thread_local int current = 0;

cudaError_t allocate(void** memory, std::size_t size) {
    if (world.allocations-- <= 0) {
        *memory = nullptr;
        return cudaErrorMemoryAllocation;
    }
    *memory = std::malloc(size);
    std::memset(*memory, 0xab, size);
    ++world.live;
    return cudaSuccess;
}

cudaError_t release(void* memory) {
    std::free(memory);
    --world.live;
    return cudaSuccess;
}

}  // namespace

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
    *count = world.devices;
    return world.driver;
}
cudaError_t cudaDriverGetVersion(int* version) {
    *version = world.driver_version;
    return cudaSuccess;
}
char const* cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorMemoryAllocation ? "out of memory" : "some CUDA error";
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaGetDevice(int* device) {
    *device = current;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
    current = device;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
    std::strcpy(properties->name, "Tesla T4");
    properties->major = world.major;
    properties->minor = world.minor;
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
    *free = 3'000'000;
    *total = 16'000'000;
    return cudaSuccess;
}
cudaError_t cudaMalloc(void** memory, std::size_t size) { return allocate(memory, size); }
cudaError_t cudaMallocHost(void** memory, std::size_t size) { return allocate(memory, size); }
cudaError_t cudaFree(void* memory) { return release(memory); }
cudaError_t cudaFreeHost(void* memory) { return release(memory); }
cudaError_t cudaMemcpyAsync(void* to, void const* from, std::size_t size, cudaMemcpyKind,
                            cudaStream_t stream) {
    fake::queue(stream, [=] { std::memcpy(to, from, size); });
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int) {
    *stream = new CUstream_st;
    ++world.live;
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete stream;
    --world.live;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    world.device = current;
    for (auto const& work : std::exchange(stream->waiting, {})) {
        work();
    }
    return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    if (!world.can_capture) {
        return cudaErrorStreamCaptureUnsupported;
    }
    stream->captured = new CUgraph_st;
    ++world.live;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    *graph = std::exchange(stream->captured, nullptr);
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* ready, cudaGraph_t graph,
                                          unsigned long long) {
    *ready = new CUgraphExec_st{graph->work};
    ++world.live;
    return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
    ++world.launches;
    stream->waiting.insert(stream->waiting.end(), graph->work.begin(), graph->work.end());
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    --world.live;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
    delete graph;
    --world.live;
    return cudaSuccess;
}

}  // extern "C"
