// Correctness and speed of the kernels on the GPU at hand; needs CUDA alone.
//
//   cmake -S plugins -B build/gpu-check -DEMCA_GPU_CHECK=ON && cmake --build build/gpu-check
//   build/gpu-check/emca_gpu_check            check all shapes, then measure
//   build/gpu-check/emca_gpu_check --quick    small shapes, nothing measured: for compute-sanitizer
//
// Prints a line for each shape and one for each measurement, as JSON; exit code 1 where a shape is
// wrong, 2 where there is no GPU.
#include <cstdio>
#include <cstring>

#include <cuda_runtime.h>

#include "check_measure.cuh"
#include "check_shapes.cuh"

int main(int count, char** words) {
    bool const quick = count == 2 && std::strcmp(words[1], "--quick") == 0;
    if (count > 1 && !quick) {
        std::fprintf(stderr, "error: unknown option %s; there is --quick\n", words[1]);
        return 2;
    }
    int devices = 0;
    cudaError_t const error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess || devices == 0) {
        std::fprintf(stderr, "error: no CUDA device (%s); run it on a machine with an NVIDIA GPU\n",
                     cudaGetErrorString(error));
        return 2;
    }
    bool const right = emca::check::check_shapes(quick);
    if (right && !quick) {
        emca::check::measure();
    }
    return right ? 0 : 1;
}
