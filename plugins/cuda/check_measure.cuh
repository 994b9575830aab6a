// The kernels' time against what the GPU's memory and arithmetic allow.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include <cuda_fp16.h>

#include "check_device.cuh"
#include "check_shapes.cuh"
#include "prototype_attention.h"

namespace emca::check {

//! Peaks of a GPU from its own description; see `bound`.
struct Peaks {
    double bytes_per_second;
    double flops_per_second;  //!< dense FP16 with float sums in the tensor cores
    double steps_per_second;  //!< plain instructions, a lane each
    int l2_bytes;
};

inline int attribute(cudaDeviceAttr which) {
    int value = 0;
    require(cudaDeviceGetAttribute(&value, which, 0), "cudaDeviceGetAttribute");
    return value;
}

inline Peaks peaks() {
    int const capability = 10 * attribute(cudaDevAttrComputeCapabilityMajor) +
                           attribute(cudaDevAttrComputeCapabilityMinor);
    // Per multiprocessor and cycle, from NVIDIA's architecture papers (T4, A100, Orin, H100);
    // GeForce cards of 8.6, 8.9 and 12.x run half as fast with float sums.
    double const flops = capability >= 120                     ? 512
                         : capability >= 90                    ? 4096
                         : capability == 89 || capability == 86 ? 512
                         : capability >= 80                    ? 2048
                                                               : 1024;
    constexpr double kLanes = 64;  // results of compares, selections and logic in a cycle
    double const cycles = 1e3 * attribute(cudaDevAttrClockRate);
    double const multiprocessors = attribute(cudaDevAttrMultiProcessorCount);
    Peaks const found{2e3 * attribute(cudaDevAttrMemoryClockRate) *
                          attribute(cudaDevAttrGlobalMemoryBusWidth) / 8,
                      flops * cycles * multiprocessors, kLanes * cycles * multiprocessors,
                      attribute(cudaDevAttrL2CacheSize)};
    bool const known = found.bytes_per_second > 0 && cycles > 0 && found.l2_bytes > 0;
    require(known ? cudaSuccess : cudaErrorNotSupported, "clocks, bus width and L2 size");
    return found;
}

//! Microseconds that a call takes at least: the largest of memory, tensor cores and running
//! maximum, as derived in prototype_attention.cu.
inline double bound(Shape const& shape, Peaks const& peak) {
    double const rows = static_cast<double>(shape.batch) * shape.queries;
    double const tiles = static_cast<double>(shape.batch) * ((shape.queries + 15) / 16 * 16);
    double const bytes =
        2.0 * (static_cast<double>(shape.batch) * shape.positions * shape.channels +
               rows * shape.positions + 3.0 * rows * shape.channels);
    double const flops = 2.0 * tiles * shape.positions * shape.channels;
    double const steps = 4.0 * tiles * shape.positions * shape.heads;
    return 1e6 * std::max({bytes / peak.bytes_per_second, flops / peak.flops_per_second,
                           steps / peak.steps_per_second});
}

constexpr std::chrono::seconds kWakeUp{1};

__global__ void do_nothing() {}

//! Read an array of zeros; the sum, which keeps the compiler from leaving it out, is never written.
__global__ void read_all(uint4 const* values, std::size_t count, unsigned char* target) {
    unsigned sum = 0;
    std::size_t const step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
    for (std::size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        sum += values[i].x + values[i].y + values[i].z + values[i].w;
    }
    if (sum != 0) {
        *target = 1;
    }
}

//! Median microseconds of a captured sequence of launches, each after `before`.
template <typename Launches, typename Before>
double median_time(Launches const& launches, Before const& before, cudaStream_t stream) {
    constexpr int kRuns = 200;
    launches();  // loads the kernels: not allowed while capturing
    require(cudaStreamSynchronize(stream), "run");
    cudaEvent_t events[2];
    for (cudaEvent_t& event : events) {
        require(cudaEventCreate(&event), "cudaEventCreate");
    }
    // The events are nodes of the graph, so that the time to start the graph stays out.
    auto const record = [&](cudaEvent_t event) {
        require(cudaEventRecordWithFlags(event, stream, cudaEventRecordExternal), "record");
    };
    cudaGraph_t graph{};
    cudaGraphExec_t executable{};
    require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "capture");
    record(events[0]);
    launches();
    record(events[1]);
    require(cudaStreamEndCapture(stream, &graph), "capture");
    require(cudaGraphInstantiateWithFlags(&executable, graph, 0), "cudaGraphInstantiateWithFlags");
    std::vector<float> times;
    for (int run = 0; run < kRuns; ++run) {
        before();
        require(cudaGraphLaunch(executable, stream), "cudaGraphLaunch");
        require(cudaStreamSynchronize(stream), "run");
        float milliseconds = 0.0F;
        require(cudaEventElapsedTime(&milliseconds, events[0], events[1]), "cudaEventElapsedTime");
        times.push_back(1e3F * milliseconds);
    }
    for (cudaEvent_t& event : events) {
        cudaEventDestroy(event);
    }
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
    std::nth_element(times.begin(), times.begin() + kRuns / 2, times.end());
    return times[kRuns / 2];
}

//! What makes the L2 cache hold nothing of the tensors, and nothing to be written back.
class Flush {
  public:
    explicit Flush(Peaks const& peak)
        : written_(2 * static_cast<std::size_t>(peak.l2_bytes)), read_(written_.bytes()) {
        require(cudaMemset(read_.get(), 0, read_.bytes()), "cudaMemset");
    }
    void operator()(cudaStream_t stream) const {
        require(cudaMemsetAsync(written_.get(), 0, written_.bytes(), stream), "flush");
        read_all<<<1024, 256, 0, stream>>>(reinterpret_cast<uint4 const*>(read_.get()),
                                           read_.bytes() / sizeof(uint4), written_.get());
    }

  private:
    DeviceArray<unsigned char> written_;
    DeviceArray<unsigned char> read_;
};

inline void measure_shape(Shape const& shape, Peaks const& peak, cudaStream_t stream) {
    DeviceTensors<__half> const tensors(shape, random_inputs<__half>(shape, 0));
    Flush const flush_cache(peak);

    auto const call = [&] { tensors.call(shape, stream); };
    auto const two_empty = [&] {
        do_nothing<<<1, 32, 0, stream>>>();
        do_nothing<<<1, 32, 0, stream>>>();
    };
    auto const flush = [&] { flush_cache(stream); };
    auto const began = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - began < kWakeUp) {  // an idle GPU's clocks are low
        flush();
        call();
        require(cudaStreamSynchronize(stream), "run");
    }
    double const cold = median_time(call, flush, stream);
    double const warm = median_time(call, [] {}, stream);
    double const launches = median_time(two_empty, flush, stream);
    std::printf(
        "{\"measure\": \"fp16\", \"shape\": [%d, %d, %d, %d, %d], \"cold_us\": %.2f, "
        "\"warm_us\": %.2f, \"two_empty_launches_us\": %.2f, \"bound_us\": %.2f}\n",
        shape.batch, shape.queries, shape.positions, shape.channels, shape.heads, cold, warm,
        launches, bound(shape, peak));
    std::fflush(stdout);
}

//! A line for each size: median of the kernels with an empty L2 cache ("cold") and with what the
//! last run left in it, of two launches that do nothing, and the bound without launches.
inline void measure() {
    Peaks const peak = peaks();
    cudaStream_t stream{};
    require(cudaStreamCreate(&stream), "cudaStreamCreate");
    for (int const positions : {1024, 4096, 16384}) {
        measure_shape({1, 100, positions, 256, 8}, peak, stream);
    }
    cudaStreamDestroy(stream);
}

}  // namespace emca::check
