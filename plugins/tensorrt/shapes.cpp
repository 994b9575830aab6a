#include "shapes.h"

#include <algorithm>
#include <limits>

#include "log.h"

namespace emca {
namespace {

using nvinfer1::Dims;
using nvinfer1::IDimensionExpr;

constexpr std::int64_t kMaxSize = std::numeric_limits<std::int32_t>::max();

bool check_ranks(std::int32_t query, std::int32_t feature, std::int32_t mask) noexcept {
    if (query == 3 && feature == 3 && mask == 3) {
        return true;
    }
    log_error("query, feature and mask_logits have %d, %d and %d dimensions; expected [B,M,C], "
              "[B,N,C] and [B,M,N]",
              query, feature, mask);
    return false;
}

bool check_constants(char const* size, IDimensionExpr const* first,
                     IDimensionExpr const* second) noexcept {
    if (!first->isConstant() || !second->isConstant() ||
        first->getConstantValue() == second->getConstantValue()) {
        return true;
    }
    log_error("%s is %lld in one input and %lld in another; expected query [B,M,C], feature "
              "[B,N,C] and mask_logits [B,M,N]",
              size, static_cast<long long>(first->getConstantValue()),
              static_cast<long long>(second->getConstantValue()));
    return false;
}

bool check_channels(IDimensionExpr const* channels, std::int32_t heads) noexcept {
    if (!channels->isConstant()) {
        return true;  // known when the plugin is configured
    }
    std::int64_t const count = channels->getConstantValue();
    if (count <= kMaxSize &&
        is_supported(Shape{1, 1, 1, static_cast<std::int32_t>(count), heads})) {
        return true;
    }
    log_error("C is %lld and num_heads %d; expected C of 1 to 512, a multiple of num_heads",
              static_cast<long long>(count), heads);
    return false;
}

void log_shapes(Dims const& query, Dims const& feature, Dims const& mask, std::int32_t heads,
                char const* expected) noexcept {
    auto const at = [](Dims const& dims, int axis) { return static_cast<long long>(dims.d[axis]); };
    log_error("query [%lld,%lld,%lld], feature [%lld,%lld,%lld], mask_logits [%lld,%lld,%lld], "
              "num_heads %d; expected %s",
              at(query, 0), at(query, 1), at(query, 2), at(feature, 0), at(feature, 1),
              at(feature, 2), at(mask, 0), at(mask, 1), at(mask, 2), heads, expected);
}

// The smallest sizes that hold all three tensors. They may differ in a profile's bounds, since
// TensorRT derives those for each tensor on its own.
std::optional<Shape> bounding_shape(Dims const& query, Dims const& feature, Dims const& mask,
                                    std::int32_t heads) noexcept {
    if (!check_ranks(query.nbDims, feature.nbDims, mask.nbDims)) {
        return std::nullopt;
    }
    std::int64_t const batch = std::max({query.d[0], feature.d[0], mask.d[0]});
    std::int64_t const queries = std::max(query.d[1], mask.d[1]);
    std::int64_t const positions = std::max(feature.d[1], mask.d[2]);
    std::int64_t const channels = std::max(query.d[2], feature.d[2]);
    if (std::max({batch, queries, positions, channels}) > kMaxSize) {
        log_shapes(query, feature, mask, heads, "no size above 2147483647");
        return std::nullopt;
    }
    Shape const shape{static_cast<std::int32_t>(batch), static_cast<std::int32_t>(queries),
                      static_cast<std::int32_t>(positions), static_cast<std::int32_t>(channels),
                      heads};
    if (!is_supported(shape)) {
        log_shapes(query, feature, mask, heads,
                   "no size below 1, C at most 512 and a multiple of num_heads");
        return std::nullopt;
    }
    return shape;
}

}  // namespace

bool shapes_fit(nvinfer1::DimsExprs const* inputs, std::int32_t heads) noexcept {
    nvinfer1::DimsExprs const& query = inputs[0];
    nvinfer1::DimsExprs const& feature = inputs[1];
    nvinfer1::DimsExprs const& mask = inputs[2];
    return check_ranks(query.nbDims, feature.nbDims, mask.nbDims) &&
           check_constants("B", query.d[0], feature.d[0]) &&
           check_constants("B", query.d[0], mask.d[0]) &&
           check_constants("M", query.d[1], mask.d[1]) &&
           check_constants("N", feature.d[1], mask.d[2]) &&
           check_constants("C", query.d[2], feature.d[2]) && check_channels(query.d[2], heads);
}

std::optional<Shape> largest_shape(nvinfer1::DynamicPluginTensorDesc const* inputs,
                                   std::int32_t heads) noexcept {
    return bounding_shape(inputs[0].max, inputs[1].max, inputs[2].max, heads);
}

std::optional<Shape> exact_shape(nvinfer1::PluginTensorDesc const* inputs,
                                 std::int32_t heads) noexcept {
    Dims const& query = inputs[0].dims;
    Dims const& feature = inputs[1].dims;
    Dims const& mask = inputs[2].dims;
    auto const shape = bounding_shape(query, feature, mask, heads);
    bool const fits = shape && query.d[0] == feature.d[0] && query.d[0] == mask.d[0] &&
                      query.d[1] == mask.d[1] && query.d[2] == feature.d[2] &&
                      feature.d[1] == mask.d[2];
    if (shape && !fits) {
        log_shapes(query, feature, mask, heads, "[B,M,C], [B,N,C] and [B,M,N]");
    }
    return fits ? shape : std::nullopt;
}

}  // namespace emca
