// The kernels against a plain loop on the CPU, over a grid of shapes.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include <cuda_fp16.h>

#include "check_device.cuh"
#include "prototype_attention.h"

namespace emca::check {

inline float as_float(float value) { return value; }
inline float as_float(__half value) { return __half2float(value); }
inline void assign(float& target, float value) { target = value; }
inline void assign(__half& target, float value) { target = __float2half(value); }

template <typename T>
struct Inputs {
    std::vector<T> query, feature, mask_logits;
};

//! Random rows whose heads have unit length; every third query is masked everywhere.
template <typename T>
Inputs<T> random_inputs(Shape const& shape, unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    auto const unit_rows = [&](std::size_t rows) {
        std::vector<T> values(rows * shape.channels);
        std::size_t const width = shape.channels / shape.heads;
        std::vector<float> head(width);
        for (std::size_t start = 0; start < values.size(); start += width) {
            float squares = 0.0F;
            for (float& value : head) {
                value = normal(generator);
                squares += value * value;
            }
            for (std::size_t i = 0; i < width; ++i) {
                assign(values[start + i], head[i] / std::sqrt(squares));
            }
        }
        return values;
    };
    std::size_t const rows = static_cast<std::size_t>(shape.batch) * shape.queries;
    Inputs<T> inputs{unit_rows(rows),
                     unit_rows(static_cast<std::size_t>(shape.batch) * shape.positions),
                     std::vector<T>(rows * shape.positions)};
    for (std::size_t i = 0; i < inputs.mask_logits.size(); ++i) {
        float const logit = normal(generator) - 1.0F;
        bool const hidden = i / shape.positions % 3 == 1;
        assign(inputs.mask_logits[i], hidden ? -std::fabs(logit) - 0.1F : logit);
    }
    return inputs;
}

//! Eighths, whose sums are exact in any order, so that ties abound and have one right answer.
//! Channel 0, which no query looks at, tells equal features apart. The second query is masked
//! everywhere, the third but for the last position, the fourth by infinite logits.
template <typename T>
Inputs<T> exact_inputs(Shape const& shape) {
    std::mt19937 generator(1);
    std::uniform_int_distribution<int> eighths(-1, 1);
    std::size_t const rows = static_cast<std::size_t>(shape.batch) * shape.queries;
    std::size_t const features = static_cast<std::size_t>(shape.batch) * shape.positions;
    Inputs<T> inputs{std::vector<T>(rows * shape.channels),
                     std::vector<T>(features * shape.channels),
                     std::vector<T>(rows * shape.positions)};
    int const width = shape.channels / shape.heads;
    for (std::size_t i = 0; i < inputs.query.size(); ++i) {
        assign(inputs.query[i], i % width == 0 ? 0.0F : 0.125F * eighths(generator));
    }
    for (std::size_t i = 0; i < inputs.feature.size(); ++i) {
        float const number = static_cast<float>(i / shape.channels % shape.positions);
        assign(inputs.feature[i], i % width == 0 ? number : 0.125F * eighths(generator));
    }
    for (std::size_t i = 0; i < inputs.mask_logits.size(); ++i) {
        int const row = static_cast<int>(i / shape.positions % shape.queries);
        bool const last = i % shape.positions == static_cast<std::size_t>(shape.positions) - 1;
        float const hidden = i % 2 == 0 ? -INFINITY : INFINITY;
        assign(inputs.mask_logits[i], row == 1   ? -1.0F
                                      : row == 2 ? (last ? -0.0F : -1e-6F)
                                      : row == 3 ? hidden
                                                 : 0.0F);
    }
    return inputs;
}

//! The tensors of one call on the GPU.
template <typename T>
struct DeviceTensors {
    DeviceTensors(Shape const& shape, Inputs<T> const& inputs)
        : query(inputs.query),
          feature(inputs.feature),
          mask_logits(inputs.mask_logits),
          attended(inputs.query.size()),
          prototype(inputs.query.size()),
          workspace(workspace_size(shape)) {}

    void call(Shape const& shape, cudaStream_t stream) const {
        auto const precision = sizeof(T) == 2 ? Precision::kFloat16 : Precision::kFloat32;
        require(prototype_attention(shape, precision, query.get(), feature.get(), mask_logits.get(),
                                    attended.get(), prototype.get(), workspace.get(), stream),
                "launch");
    }

    DeviceArray<T> query, feature, mask_logits, attended, prototype;
    DeviceArray<unsigned char> workspace;
};

//! How far a result is from the definition.
struct Errors {
    std::int64_t wrong = 0;     //!< prototypes that are no visible feature, or a worse one
    std::int64_t other = 0;     //!< prototypes that differ, as similar up to the tolerance
    std::int64_t products = 0;  //!< elements of attended that are not query * prototype, rounded
};

//! One query and head; `rows` are features, `chosen` is what the kernel picked.
template <typename T>
void compare_head(Errors& errors, Shape const& shape, T const* query, T const* rows,
                  T const* logits, T const* chosen, double tolerance) {
    int const channels = shape.channels / shape.heads;
    bool any_visible = false;
    for (int n = 0; n < shape.positions; ++n) {
        any_visible = any_visible || as_float(logits[n]) >= 0.0F;
    }
    double best = -INFINITY;
    double own = -INFINITY;
    int best_position = 0;
    for (int n = 0; n < shape.positions; ++n) {
        if (any_visible && !(as_float(logits[n]) >= 0.0F)) {
            continue;
        }
        T const* row = rows + static_cast<std::size_t>(n) * shape.channels;
        double similarity = 0.0;
        for (int c = 0; c < channels; ++c) {
            similarity += static_cast<double>(as_float(query[c])) * as_float(row[c]);
        }
        if (similarity > best) {
            best = similarity;
            best_position = n;
        }
        if (similarity > own && std::memcmp(row, chosen, channels * sizeof(T)) == 0) {
            own = similarity;
        }
    }
    T const* expected = rows + static_cast<std::size_t>(best_position) * shape.channels;
    if (!(best - own <= tolerance)) {
        ++errors.wrong;
    } else if (std::memcmp(expected, chosen, channels * sizeof(T)) != 0) {
        ++errors.other;
    }
}

template <typename T>
Errors compare(Shape const& shape, Inputs<T> const& inputs, std::vector<T> const& attended,
               std::vector<T> const& prototype, double tolerance) {
    Errors errors;
    int const width = shape.channels / shape.heads;
    for (int row = 0; row < shape.batch * shape.queries; ++row) {
        std::size_t const first_feature =
            static_cast<std::size_t>(row / shape.queries) * shape.positions * shape.channels;
        for (int head = 0; head < shape.heads; ++head) {
            std::size_t const start = static_cast<std::size_t>(row) * shape.channels + head * width;
            compare_head(errors, shape, &inputs.query[start],
                         &inputs.feature[first_feature + head * width],
                         &inputs.mask_logits[static_cast<std::size_t>(row) * shape.positions],
                         &prototype[start], tolerance);
        }
    }
    for (std::size_t i = 0; i < attended.size(); ++i) {
        T expected;
        assign(expected, as_float(inputs.query[i]) * as_float(prototype[i]));
        errors.products += as_float(attended[i]) == as_float(expected) ? 0 : 1;
    }
    return errors;
}

//! Whether the kernel agrees with the loop: prototypes equal, or as similar up to the tolerance.
template <typename T>
bool check_inputs(char const* name, Shape const& shape, Inputs<T> const& inputs,
                  double tolerance) {
    constexpr bool kIsHalf = sizeof(T) == 2;
    DeviceTensors<T> const tensors(shape, inputs);
    tensors.call(shape, nullptr);
    require(cudaDeviceSynchronize(), "kernel");
    Errors const errors = compare(shape, inputs, tensors.attended.values(),
                                  tensors.prototype.values(), tolerance);
    bool const right = errors.wrong == 0 && errors.products == 0 &&
                       (tolerance > 0.0 || errors.other == 0);
    std::printf(
        "{\"check\": \"%s\", \"inputs\": \"%s\", \"precision\": \"%s\", "
        "\"shape\": [%d, %d, %d, %d, %d], \"prototypes\": %d, \"wrong\": %lld, "
        "\"near_ties\": %lld, \"wrong_products\": %lld}\n",
        right ? "right" : "WRONG", name, kIsHalf ? "fp16" : "fp32", shape.batch, shape.queries,
        shape.positions, shape.channels, shape.heads, shape.batch * shape.queries * shape.heads,
        static_cast<long long>(errors.wrong), static_cast<long long>(errors.other),
        static_cast<long long>(errors.products));
    return right;
}

template <typename T>
bool check_shape(Shape const& shape) {
    double const tolerance = sizeof(T) == 2 ? 1e-3 : 1e-6;
    auto const seed = static_cast<unsigned>(shape.queries + shape.positions);
    bool const random = check_inputs("random", shape, random_inputs<T>(shape, seed), tolerance);
    return check_inputs("exact", shape, exact_inputs<T>(shape), 0.0) && random;
}

//! All shapes in both formats; `quick` leaves out the large ones.
inline bool check_shapes(bool quick) {
    std::vector<Shape> shapes = {
        {1, 1, 1, 1, 1},       {1, 1, 1, 32, 2},     {1, 5, 63, 128, 2},  {1, 16, 64, 64, 4},
        {1, 17, 65, 192, 3},   {2, 33, 66, 40, 5},   {2, 37, 130, 128, 8}, {3, 2, 129, 24, 8},
        {1, 140, 7, 512, 16},  {1, 9, 70, 512, 1},   {1, 100, 256, 256, 8}, {2, 3, 200, 320, 10},
    };
    if (!quick) {
        std::vector<Shape> const large = {
            {1, 100, 1024, 256, 8}, {1, 100, 4096, 256, 8}, {1, 100, 16384, 256, 8},
            {2, 100, 4095, 256, 8}, {4, 200, 1000, 256, 4}, {1, 300, 2047, 128, 8},
            {8, 100, 1024, 128, 8}, {1, 100, 32768, 256, 8},
        };
        shapes.insert(shapes.end(), large.begin(), large.end());
    }
    bool right = true;
    for (Shape const& shape : shapes) {
        right = check_shape<__half>(shape) && right;
        right = check_shape<float>(shape) && right;
        std::fflush(stdout);
    }
    return right;
}

}  // namespace emca::check
