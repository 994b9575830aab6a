// Runs the kernels on the CPU:
//   main check    what the check program for GPUs checks
//   main PRECISION B M N C h MULTIPROCESSORS BACKWARDS < inputs > outputs
// Inputs are query, feature and mask_logits, outputs attended and prototype, as raw bytes. Prints
// the number of matrix products to stderr. Every buffer has its exact size, for AddressSanitizer.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "check_shapes.cuh"
#include "prototype_attention.cu"

namespace {

struct Free {
    void operator()(void* memory) const { std::free(memory); }
};
using Buffer = std::unique_ptr<void, Free>;

//! Filled with bytes that are neither zero nor a sensible number.
Buffer allocate(std::size_t size) {
    Buffer buffer(std::malloc(size));
    std::memset(buffer.get(), 0xfb, size);
    return buffer;
}

Buffer read(std::size_t size) {
    Buffer buffer = allocate(size);
    if (std::fread(buffer.get(), 1, size, stdin) != size) {
        std::fprintf(stderr, "too little input\n");
        std::exit(1);
    }
    return buffer;
}

}  // namespace

int main(int count, char** words) {
    if (count == 2 && std::strcmp(words[1], "check") == 0) {
        return emca::check::check_shapes(true) ? 0 : 1;
    }
    if (count != 9) {
        return 1;
    }
    auto const number = [&](int index) { return std::atoi(words[index]); };
    auto const precision = static_cast<emca::Precision>(number(1));
    emca::Shape const shape{number(2), number(3), number(4), number(5), number(6)};
    emulator::multiprocessors = number(7);
    emulator::backwards = number(8) != 0;

    std::size_t const element = precision == emca::Precision::kFloat16 ? 2 : 4;
    std::size_t const rows = element * shape.batch * shape.queries;
    std::size_t const result = rows * shape.channels;
    Buffer const query = read(result);
    Buffer const feature = read(element * shape.batch * shape.positions * shape.channels);
    Buffer const mask_logits = read(rows * shape.positions);
    Buffer const attended = allocate(result);
    Buffer const prototype = allocate(result);
    Buffer const workspace = allocate(emca::workspace_size(shape));
    cudaError_t const error = emca::prototype_attention(
        shape, precision, query.get(), feature.get(), mask_logits.get(), attended.get(),
        prototype.get(), workspace.get(), nullptr);
    if (error != cudaSuccess) {
        std::fprintf(stderr, "error %d\n", error);
        return 4;
    }
    std::fwrite(attended.get(), 1, result, stdout);
    std::fwrite(prototype.get(), 1, result, stdout);
    std::fprintf(stderr, "%ld\n", emulator::matrix_products);
    return 0;
}
