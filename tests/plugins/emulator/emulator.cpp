#include "cuda_runtime_api.h"

#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cuda_fp16.h"
#include "matrix_product.cuh"

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {

int multiprocessors = 1;
bool backwards = false;
long matrix_products = 0;

namespace {

constexpr int kLanes = 32;
constexpr std::size_t kStack = 256 * 1024;

[[noreturn]] void fail(char const* what) {
    std::fprintf(stderr, "emulator: %s (block %u, thread %u)\n", what, blockIdx.x, threadIdx.x);
    std::exit(3);
}

struct Barrier {
    unsigned waiting = 0;
    unsigned generation = 0;
};

//! What the lanes of a warp hand each other; two sets, since a fast lane may be one ahead.
struct Warp {
    Barrier barrier;
    unsigned char value[2][kLanes][32];
    int operation[2][kLanes];
};

struct Fiber {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(kStack);
    bool done = false;
};

std::vector<Fiber> fibers;
std::vector<Warp> warps;
Barrier block_barrier;
ucontext_t scheduler;
std::function<void()> const* kernel;
unsigned current, alive;
bool moved;  // whether any fiber got past a barrier in this round

void fiber_main() {
    (*kernel)();
    fibers[current].done = moved = true;
    --alive;
    swapcontext(&fibers[current].context, &scheduler);
}

void wait(Barrier& barrier, std::function<unsigned()> const& expected) {
    unsigned const generation = barrier.generation;
    ++barrier.waiting;
    while (barrier.generation == generation) {
        if (barrier.waiting >= expected()) {
            barrier.waiting = 0;
            ++barrier.generation;
            moved = true;
        } else {
            swapcontext(&fibers[current].context, &scheduler);
        }
    }
}

void run_block(unsigned threads) {
    fibers.resize(threads);
    warps.assign(threads / kLanes, Warp{});
    block_barrier = {};
    alive = threads;
    for (Fiber& fiber : fibers) {
        fiber.done = false;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = kStack;
        makecontext(&fiber.context, fiber_main, 0);
    }
    while (alive > 0) {
        moved = false;
        for (unsigned turn = 0; turn < threads; ++turn) {
            current = backwards ? threads - 1 - turn : turn;
            if (!fibers[current].done) {
                threadIdx.x = current;
                swapcontext(&scheduler, &fibers[current].context);
            }
        }
        if (!moved) {
            fail("the threads of a block wait for each other");
        }
    }
}

enum Operation { kBallot = 1, kShuffle = 2, kProduct = 16 };

//! Hand `mine` to the other lanes; returns the set to read theirs from.
template <typename T>
int exchange(unsigned mask, int operation, T const& mine) {
    static_assert(sizeof(T) <= 32, "a slot holds 32 bytes");
    if (mask != 0xffffffffU) {
        fail("a warp-wide operation without all lanes");
    }
    Warp& warp = warps[threadIdx.x / kLanes];
    int const set = warp.barrier.generation % 2;
    std::memcpy(warp.value[set][threadIdx.x % kLanes], &mine, sizeof mine);
    warp.operation[set][threadIdx.x % kLanes] = operation;
    wait(warp.barrier, [] { return kLanes; });
    for (int lane = 0; lane < kLanes; ++lane) {
        if (warp.operation[set][lane] != operation) {
            fail("the lanes of a warp do different things");
        }
    }
    return set;
}

template <typename T>
T received(int set, int lane) {
    T value;
    std::memcpy(&value, warps[threadIdx.x / kLanes].value[set][lane], sizeof value);
    return value;
}

template <typename T>
T shuffle(unsigned mask, T value, int distance) {
    int const set = exchange(mask, kShuffle * 64 + distance, value);
    return received<T>(set, threadIdx.x % kLanes ^ distance);
}

float half_of(std::uint32_t pair, int index) {
    std::uint16_t const bits = pair >> (16 * index);
    __half value;
    std::memcpy(&value, &bits, sizeof value);
    return __half2float(value);
}

}  // namespace

void run(dim3 grid, dim3 block, std::function<void()> const& function) {
    kernel = &function;
    gridDim = grid;
    blockDim = block;
    if (block.x % kLanes != 0 || block.x > 1024) {
        fail("a block is no number of whole warps up to 1024 threads");
    }
    for (unsigned index = 0; index < grid.x; ++index) {
        blockIdx.x = index;
        run_block(block.x);
    }
}

}  // namespace emulator

using namespace emulator;

cudaError_t cudaMalloc(void** memory, std::size_t size) {
    *memory = std::malloc(size);
    return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
    std::free(memory);
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void* target, void const* source, std::size_t size, cudaMemcpyKind) {
    std::memcpy(target, source, size);
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }

char const* cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess ? "no error" : "invalid argument";
}

cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
    *value = multiprocessors;
    return cudaSuccess;
}

void __syncthreads() {
    wait(block_barrier, [] { return alive; });
}

unsigned __ballot_sync(unsigned mask, int predicate) {
    int const set = exchange(mask, kBallot, predicate);
    unsigned bits = 0;
    for (int lane = 0; lane < kLanes; ++lane) {
        bits |= received<int>(set, lane) != 0 ? 1U << lane : 0U;
    }
    return bits;
}

float __shfl_xor_sync(unsigned mask, float value, int distance) {
    return shuffle(mask, value, distance);
}
int __shfl_xor_sync(unsigned mask, int value, int distance) {
    return shuffle(mask, value, distance);
}
std::uint64_t __shfl_xor_sync(unsigned mask, std::uint64_t value, int distance) {
    return shuffle(mask, value, distance);
}

namespace emca {

// Operand layouts: PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type".
void multiply_16x8x16(float (&sum)[4], LeftOperand left, RightOperand right) {
    struct Operands {
        LeftOperand left;
        RightOperand right;
    };
    int const set = exchange(0xffffffffU, kProduct, Operands{left, right});
    int const g = threadIdx.x % kLanes / 4;
    int const t = threadIdx.x % 4;
    matrix_products += threadIdx.x % kLanes == 0 ? 1 : 0;
    for (int i = 0; i < 4; ++i) {
        int const row = g + 8 * (i / 2);
        int const column = 2 * t + i % 2;
        for (int k = 0; k < 16; ++k) {
            int const in_quad = k % 8 / 2;
            auto const a = received<Operands>(set, row % 8 * 4 + in_quad).left;
            auto const b = received<Operands>(set, column * 4 + in_quad).right;
            sum[i] += half_of(a.value[row / 8 + 2 * (k / 8)], k % 2) *
                      half_of(b.value[k / 8], k % 2);
        }
    }
}

}  // namespace emca
