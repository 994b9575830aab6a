// Device memory and errors for the check program.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <vector>

#include <cuda_runtime.h>

namespace emca::check {

//! End the program with the place and the reason where a CUDA call failed.
inline void require(cudaError_t error, char const* what) {
    if (error != cudaSuccess) {
        std::fprintf(stderr, "error: %s: %s\n", what, cudaGetErrorString(error));
        std::exit(2);
    }
}

//! Device memory of `size` elements, freed at the end of the scope.
template <typename T>
class DeviceArray {
  public:
    explicit DeviceArray(std::size_t size) : size_(size) {
        void* memory = nullptr;
        require(cudaMalloc(&memory, size * sizeof(T)), "cudaMalloc");
        data_ = static_cast<T*>(memory);
    }
    explicit DeviceArray(std::vector<T> const& values) : DeviceArray(values.size()) {
        require(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice),
                "copy to the GPU");
    }
    DeviceArray(DeviceArray const&) = delete;
    DeviceArray& operator=(DeviceArray const&) = delete;
    ~DeviceArray() { cudaFree(data_); }

    T* get() const { return data_; }
    std::size_t bytes() const { return size_ * sizeof(T); }
    std::vector<T> values() const {
        std::vector<T> host(size_);
        require(cudaMemcpy(host.data(), data_, bytes(), cudaMemcpyDeviceToHost),
                "copy from the GPU");
        return host;
    }

  private:
    T* data_ = nullptr;
    std::size_t size_;
};

}  // namespace emca::check
