#include "cuda.hpp"

namespace emca::detail {

void check(cudaError_t result, char const* what) {
    if (result == cudaSuccess) {
        return;
    }
    cudaGetLastError();  // what is no lasting damage does not reach the next call
    std::string const said = std::string(what) + " (" + cudaGetErrorString(result) + ")";
    if (result == cudaErrorMemoryAllocation) {
        throw Error("too little GPU memory for " + said + "; end other programs on the GPU");
    }
    throw Error("CUDA failed: " + said + "; nvidia-smi must list the GPU as ready");
}

std::string Gpu::compute_capability() const {
    return std::to_string(major) + "." + std::to_string(minor);
}

void check_device(int device) {
    int count = 0;
    cudaError_t const result = cudaGetDeviceCount(&count);
    if (result == cudaErrorInsufficientDriver || result == cudaErrorStubLibrary) {
        int driver = 0;
        cudaDriverGetVersion(&driver);
        if (driver > 0) {
            throw Error("the NVIDIA driver knows CUDA up to " + std::to_string(driver / 1000) +
                        "." + std::to_string(driver % 1000 / 10) +
                        ", which is too old for this library; update the driver");
        }
        throw Error(
            "no NVIDIA driver is loaded; install it until nvidia-smi lists the GPU, and "
            "start containers with --gpus all (on a Jetson with --runtime nvidia)");
    }
    if (result == cudaErrorNoDevice || (result == cudaSuccess && count == 0)) {
        throw Error(
            "CUDA finds no GPU; nvidia-smi must list one, and CUDA_VISIBLE_DEVICES hide "
            "none");
    }
    check(result, "the list of GPUs");
    if (device < 0 || device >= count) {
        throw Error("there is no GPU " + std::to_string(device) + "; give one of 0 to " +
                    std::to_string(count - 1));
    }
}

Gpu describe(int device) {
    DeviceScope const scope(device);
    cudaDeviceProp found{};
    check(cudaGetDeviceProperties(&found, device), "the GPU's properties");
    Gpu gpu{found.name, found.major, found.minor, 0, 0};
    check(cudaMemGetInfo(&gpu.free, &gpu.total), "the GPU's free memory");
    return gpu;
}

DeviceScope::DeviceScope(int device) {
    check(cudaGetDevice(&previous_), "the current GPU");
    check(cudaSetDevice(device), "the choice of the GPU");
}

Stream make_stream() {
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
    return Stream(stream);
}

Buffer::Buffer(std::size_t size) : size_(size) {
    void* memory = nullptr;
    check(cudaMallocHost(&memory, size), "pinned memory");
    host_.reset(static_cast<std::uint8_t*>(memory));
    check(cudaMalloc(&memory, size), "an image or its labels");
    device_.reset(static_cast<std::uint8_t*>(memory));
}

void Buffer::upload(cudaStream_t stream) const {
    check(cudaMemcpyAsync(device(), host(), size_, cudaMemcpyHostToDevice, stream), "a copy");
}

void Buffer::download(cudaStream_t stream) const {
    check(cudaMemcpyAsync(host(), device(), size_, cudaMemcpyDeviceToHost, stream), "a copy");
}

}  // namespace emca::detail
