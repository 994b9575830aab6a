// As much of CUDA as the kernels use, on the CPU: every thread of a block is a fiber, one block
// runs after the other. Kernels compile unchanged with an ordinary C++ compiler.
//
// Warp-wide operations check that all 32 lanes take part in the same one; a block whose threads
// wait for each other in vain ends the program with a message.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __shared__ static  // one block runs at a time

using std::max;
using std::min;

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct float2 {
    float x, y;
};

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMisalignedAddress = 716
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16 };
using cudaStream_t = void*;
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    std::size_t dynamicSmemBytes;
    cudaStream_t stream;
};

namespace emulator {

extern int multiprocessors;   //!< what cudaDeviceGetAttribute answers
extern bool backwards;        //!< fibers take turns from the last to the first
extern long matrix_products;  //!< made by warps so far

void run(dim3 grid, dim3 block, std::function<void()> const& kernel);

}  // namespace emulator

cudaError_t cudaMalloc(void** memory, std::size_t size);
cudaError_t cudaFree(void* memory);
cudaError_t cudaMemcpy(void* target, void const* source, std::size_t size, cudaMemcpyKind kind);
cudaError_t cudaDeviceSynchronize();
char const* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(cudaLaunchConfig_t const* config, void (*kernel)(Parameters...),
                               Arguments... arguments) {
    emulator::run(config->gridDim, config->blockDim, [&] { kernel(arguments...); });
    return cudaSuccess;
}

void __syncthreads();
unsigned __ballot_sync(unsigned mask, int predicate);
float __shfl_xor_sync(unsigned mask, float value, int distance);
int __shfl_xor_sync(unsigned mask, int value, int distance);
std::uint64_t __shfl_xor_sync(unsigned mask, std::uint64_t value, int distance);
