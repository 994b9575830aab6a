#include "prototype_attention_plugin.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "../cuda/prototype_attention.h"
#include "log.h"
#include "shapes.h"

namespace emca {
namespace {

using nvinfer1::DataType;
using nvinfer1::DimsExprs;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginFieldType;
using nvinfer1::PluginTensorDesc;

constexpr std::int32_t kSuccess = 0;
constexpr std::int32_t kFailure = -1;
constexpr std::int32_t kNumInputs = 3;
constexpr std::int32_t kNumOutputs = 2;
constexpr char const* kNumHeads = "num_heads";
constexpr std::uintptr_t kAlignment = 16;  // of the kernels' vector loads

bool check_counts(std::int32_t num_inputs, std::int32_t num_outputs) noexcept {
    if (num_inputs == kNumInputs && num_outputs == kNumOutputs) {
        return true;
    }
    log_error("%d inputs and %d outputs; expected 3 (query, feature, mask_logits) and 2 (attended, "
              "prototype)",
              num_inputs, num_outputs);
    return false;
}

bool is_floating(DataType type) noexcept {
    return type == DataType::kFLOAT || type == DataType::kHALF;
}

bool check_pointer(char const* name, void const* pointer) noexcept {
    if (pointer != nullptr && reinterpret_cast<std::uintptr_t>(pointer) % kAlignment == 0) {
        return true;
    }
    log_error("%s is at %p; expected device memory aligned to 16 bytes", name, pointer);
    return false;
}

}  // namespace

PrototypeAttentionPlugin::PrototypeAttentionPlugin(std::int32_t num_heads) noexcept
    : num_heads_{num_heads},
      field_{kNumHeads, &num_heads_, PluginFieldType::kINT32, 1},
      fields_{1, &field_} {}

nvinfer1::IPluginCapability* PrototypeAttentionPlugin::getCapabilityInterface(
    nvinfer1::PluginCapabilityType type) noexcept {
    switch (type) {
        case nvinfer1::PluginCapabilityType::kCORE:
            return static_cast<nvinfer1::IPluginV3OneCore*>(this);
        case nvinfer1::PluginCapabilityType::kBUILD:
            return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
        case nvinfer1::PluginCapabilityType::kRUNTIME:
            return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
    }
    log_error("TensorRT asks for a capability of type %d, which is unknown here",
              static_cast<int>(type));
    return nullptr;
}

nvinfer1::IPluginV3* PrototypeAttentionPlugin::clone() noexcept {
    auto* const copy = new (std::nothrow) PrototypeAttentionPlugin(num_heads_);
    if (copy == nullptr) {
        log_error("out of host memory");
    }
    return copy;
}

std::int32_t PrototypeAttentionPlugin::getOutputDataTypes(DataType* output_types,
                                                          std::int32_t num_outputs,
                                                          DataType const* input_types,
                                                          std::int32_t num_inputs) const noexcept {
    if (!check_counts(num_inputs, num_outputs)) {
        return kFailure;
    }
    if (!is_floating(input_types[0]) || input_types[1] != input_types[0] ||
        input_types[2] != input_types[0]) {
        log_error("query, feature and mask_logits have the types %d, %d and %d (as in "
                  "nvinfer1::DataType); expected FP32 (0) or FP16 (1) for all three",
                  static_cast<int>(input_types[0]), static_cast<int>(input_types[1]),
                  static_cast<int>(input_types[2]));
        return kFailure;
    }
    std::fill_n(output_types, num_outputs, input_types[0]);
    return kSuccess;
}

std::int32_t PrototypeAttentionPlugin::getOutputShapes(
    DimsExprs const* inputs, std::int32_t num_inputs, DimsExprs const* /*shape_inputs*/,
    std::int32_t /*num_shape_inputs*/, DimsExprs* outputs, std::int32_t num_outputs,
    nvinfer1::IExprBuilder& /*builder*/) noexcept {
    if (!check_counts(num_inputs, num_outputs) || !shapes_fit(inputs, num_heads_)) {
        return kFailure;
    }
    std::fill_n(outputs, num_outputs, inputs[0]);
    return kSuccess;
}

bool PrototypeAttentionPlugin::supportsFormatCombination(std::int32_t position,
                                                         DynamicPluginTensorDesc const* tensors,
                                                         std::int32_t num_inputs,
                                                         std::int32_t num_outputs) noexcept {
    if (!check_counts(num_inputs, num_outputs)) {
        return false;
    }
    // Tensors behind `position` are not set yet.
    PluginTensorDesc const& tensor = tensors[position].desc;
    return tensor.format == nvinfer1::TensorFormat::kLINEAR && is_floating(tensor.type) &&
           tensor.type == tensors[0].desc.type;
}

std::int32_t PrototypeAttentionPlugin::configurePlugin(DynamicPluginTensorDesc const* inputs,
                                                       std::int32_t num_inputs,
                                                       DynamicPluginTensorDesc const* /*outputs*/,
                                                       std::int32_t num_outputs) noexcept {
    bool const fits =
        check_counts(num_inputs, num_outputs) && largest_shape(inputs, num_heads_).has_value();
    return fits ? kSuccess : kFailure;
}

std::size_t PrototypeAttentionPlugin::getWorkspaceSize(
    DynamicPluginTensorDesc const* inputs, std::int32_t num_inputs,
    DynamicPluginTensorDesc const* /*outputs*/, std::int32_t num_outputs) const noexcept {
    if (!check_counts(num_inputs, num_outputs)) {
        return 0;
    }
    auto const shape = largest_shape(inputs, num_heads_);
    return shape ? workspace_size(*shape) : 0;
}

std::int32_t PrototypeAttentionPlugin::onShapeChange(PluginTensorDesc const* inputs,
                                                     std::int32_t num_inputs,
                                                     PluginTensorDesc const* /*outputs*/,
                                                     std::int32_t num_outputs) noexcept {
    bool const fits =
        check_counts(num_inputs, num_outputs) && exact_shape(inputs, num_heads_).has_value();
    return fits ? kSuccess : kFailure;
}

std::int32_t PrototypeAttentionPlugin::enqueue(PluginTensorDesc const* input_descs,
                                               PluginTensorDesc const* /*output_descs*/,
                                               void const* const* inputs, void* const* outputs,
                                               void* workspace, cudaStream_t stream) noexcept {
    auto const shape = exact_shape(input_descs, num_heads_);
    if (!shape || !check_pointer("query", inputs[0]) || !check_pointer("feature", inputs[1]) ||
        !check_pointer("mask_logits", inputs[2]) || !check_pointer("attended", outputs[0]) ||
        !check_pointer("prototype", outputs[1]) ||
        (workspace_size(*shape) > 0 && !check_pointer("the workspace", workspace))) {
        return kFailure;
    }
    auto const precision = input_descs[0].type == DataType::kHALF ? Precision::kFloat16
                                                                  : Precision::kFloat32;
    cudaError_t const status =
        prototype_attention(*shape, precision, inputs[0], inputs[1], inputs[2], outputs[0],
                            outputs[1], workspace, stream);
    if (status != cudaSuccess) {
        log_error("the kernel failed: %s", cudaGetErrorString(status));
        return kFailure;
    }
    return kSuccess;
}

nvinfer1::IPluginV3* PrototypeAttentionPlugin::attachToContext(
    nvinfer1::IPluginResourceContext* /*context*/) noexcept {
    return clone();
}

PluginFieldCollection const* PrototypeAttentionPlugin::getFieldsToSerialize() noexcept {
    return &fields_;
}

PrototypeAttentionCreator::PrototypeAttentionCreator() noexcept
    : field_{kNumHeads, nullptr, PluginFieldType::kINT32, 1}, fields_{1, &field_} {}

PluginFieldCollection const* PrototypeAttentionCreator::getFieldNames() noexcept {
    return &fields_;
}

nvinfer1::IPluginV3* PrototypeAttentionCreator::createPlugin(
    char const* name, PluginFieldCollection const* fields,
    nvinfer1::TensorRTPhase /*phase*/) noexcept {
    char const* const layer = name != nullptr ? name : "";
    PluginField const* const begin = fields != nullptr ? fields->fields : nullptr;
    PluginField const* const end = begin != nullptr ? begin + fields->nbFields : nullptr;
    PluginField const* const field = std::find_if(begin, end, [](PluginField const& candidate) {
        return candidate.name != nullptr && std::strcmp(candidate.name, kNumHeads) == 0;
    });
    if (field == end) {
        log_error("layer \"%s\" has no attribute num_heads", layer);
        return nullptr;
    }
    if (field->type != PluginFieldType::kINT32 || field->length != 1 || field->data == nullptr) {
        log_error("layer \"%s\": num_heads is no single INT", layer);
        return nullptr;
    }
    std::int32_t num_heads = 0;
    std::memcpy(&num_heads, field->data, sizeof(num_heads));  // a plan need not align it
    if (num_heads < 1) {
        log_error("layer \"%s\": num_heads is %d; expected at least 1", layer, num_heads);
        return nullptr;
    }
    auto* const plugin = new (std::nothrow) PrototypeAttentionPlugin(num_heads);
    if (plugin == nullptr) {
        log_error("layer \"%s\": out of host memory", layer);
    }
    return plugin;
}

}  // namespace emca
