// PrototypeAttention as a TensorRT plugin: the shell around the kernels in ../cuda. The same source
// compiles with the headers of TensorRT 10.3 to 11.
#pragma once

#include <cstddef>
#include <cstdint>

#include <NvInferRuntime.h>

namespace emca {

// The names that plugins/names.py gives to the exporter.
inline constexpr char const* kPluginName = "PrototypeAttention";
inline constexpr char const* kPluginVersion = "1";
inline constexpr char const* kPluginNamespace = "emca";

//! One PrototypeAttention node: (query [B,M,C], feature [B,N,C], mask_logits [B,M,N]) to
//! (attended [B,M,C], prototype [B,M,C]), all FP32 or all FP16, contiguous.
//!
//! Every dimension may be dynamic. Whatever the kernels do not take is refused with a logged
//! reason, as early as it is known: while parsing, building, or before a run.
class PrototypeAttentionPlugin final : public nvinfer1::IPluginV3,
                                       public nvinfer1::IPluginV3OneCore,
                                       public nvinfer1::IPluginV3OneBuild,
                                       public nvinfer1::IPluginV3OneRuntime {
public:
    explicit PrototypeAttentionPlugin(std::int32_t num_heads) noexcept;
    PrototypeAttentionPlugin(PrototypeAttentionPlugin const&) = delete;
    PrototypeAttentionPlugin& operator=(PrototypeAttentionPlugin const&) = delete;

    // IPluginV3
    nvinfer1::IPluginCapability* getCapabilityInterface(
        nvinfer1::PluginCapabilityType type) noexcept override;
    nvinfer1::IPluginV3* clone() noexcept override;

    // IPluginV3OneCore
    char const* getPluginName() const noexcept override { return kPluginName; }
    char const* getPluginVersion() const noexcept override { return kPluginVersion; }
    char const* getPluginNamespace() const noexcept override { return kPluginNamespace; }

    // IPluginV3OneBuild
    std::int32_t getNbOutputs() const noexcept override { return 2; }
    std::int32_t getOutputDataTypes(nvinfer1::DataType* output_types, std::int32_t num_outputs,
                                    nvinfer1::DataType const* input_types,
                                    std::int32_t num_inputs) const noexcept override;
    std::int32_t getOutputShapes(nvinfer1::DimsExprs const* inputs, std::int32_t num_inputs,
                                 nvinfer1::DimsExprs const* shape_inputs,
                                 std::int32_t num_shape_inputs, nvinfer1::DimsExprs* outputs,
                                 std::int32_t num_outputs,
                                 nvinfer1::IExprBuilder& builder) noexcept override;
    bool supportsFormatCombination(std::int32_t position,
                                   nvinfer1::DynamicPluginTensorDesc const* tensors,
                                   std::int32_t num_inputs,
                                   std::int32_t num_outputs) noexcept override;
    std::int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const* inputs,
                                 std::int32_t num_inputs,
                                 nvinfer1::DynamicPluginTensorDesc const* outputs,
                                 std::int32_t num_outputs) noexcept override;
    std::size_t getWorkspaceSize(nvinfer1::DynamicPluginTensorDesc const* inputs,
                                 std::int32_t num_inputs,
                                 nvinfer1::DynamicPluginTensorDesc const* outputs,
                                 std::int32_t num_outputs) const noexcept override;

    // IPluginV3OneRuntime
    std::int32_t onShapeChange(nvinfer1::PluginTensorDesc const* inputs, std::int32_t num_inputs,
                               nvinfer1::PluginTensorDesc const* outputs,
                               std::int32_t num_outputs) noexcept override;
    std::int32_t enqueue(nvinfer1::PluginTensorDesc const* input_descs,
                         nvinfer1::PluginTensorDesc const* output_descs, void const* const* inputs,
                         void* const* outputs, void* workspace,
                         cudaStream_t stream) noexcept override;
    nvinfer1::IPluginV3* attachToContext(
        nvinfer1::IPluginResourceContext* context) noexcept override;
    nvinfer1::PluginFieldCollection const* getFieldsToSerialize() noexcept override;

private:
    std::int32_t num_heads_;
    nvinfer1::PluginField field_;  // points at num_heads_
    nvinfer1::PluginFieldCollection fields_;
};

//! Makes PrototypeAttentionPlugin from a node's attributes or from what an engine kept of them.
class PrototypeAttentionCreator final : public nvinfer1::IPluginCreatorV3One {
public:
    PrototypeAttentionCreator() noexcept;

    char const* getPluginName() const noexcept override { return kPluginName; }
    char const* getPluginVersion() const noexcept override { return kPluginVersion; }
    char const* getPluginNamespace() const noexcept override { return kPluginNamespace; }
    nvinfer1::PluginFieldCollection const* getFieldNames() noexcept override;
    //! \return null, with the reason logged, unless num_heads is there once, as a positive INT
    nvinfer1::IPluginV3* createPlugin(char const* name,
                                      nvinfer1::PluginFieldCollection const* fields,
                                      nvinfer1::TensorRTPhase phase) noexcept override;

private:
    nvinfer1::PluginField field_;
    nvinfer1::PluginFieldCollection fields_;
};

}  // namespace emca
