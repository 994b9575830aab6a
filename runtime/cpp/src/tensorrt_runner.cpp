// TensorRT on an NVIDIA GPU: runtime/backends/trt/engine.py and run.py for the one
// shape that a Segmenter needs.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include <NvInferPlugin.h>
#include <NvInferRuntime.h>

#include "cuda.hpp"
#include "engine_file.hpp"
#include "plugin.hpp"
#include "runner.hpp"
#include "tensorrt_errors.hpp"

namespace emca::detail {
namespace {

constexpr char const* kInput = "image";
constexpr char const* kOutput = "labels";

class TensorRtRunner final : public Runner {
public:
    TensorRtRunner(EngineFile file, Options const& options);
    ~TensorRtRunner() override;

    Card const& card() const override { return file_.card; }
    int batch() const override { return static_cast<int>(shape_[0]); }
    std::uint8_t* input() override { return input_.host(); }
    std::uint8_t const* run() override;

private:
    void prepare(std::filesystem::path const& plugin);
    void release() noexcept;
    void load(std::filesystem::path const& plugin);
    void load_plugins(std::filesystem::path const& plugin);
    void make_context();
    void bind(char const* name, Buffer& buffer, std::int64_t size);
    void queue();
    void capture();
    Error refusal() const { return explain(file_, take_log(), device_); }

    EngineFile file_;
    int device_;
    Shape shape_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    Stream stream_;
    Buffer input_, output_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    Graph graph_;
    bool capture_next_ = true;
};

TensorRtRunner::TensorRtRunner(EngineFile file, Options const& options)
    : file_(std::move(file)),
      device_(options.device),
      shape_{file_.batch(), file_.card.input_size.height, file_.card.input_size.width, 3} {
    check_version(file_);
    check_device(device_);
    check_gpu(file_, describe(device_));
    DeviceScope const scope(device_);
    try {
        prepare(options.plugin);
    } catch (...) {
        release();  // as long as its device is the current one
        throw;
    }
}

TensorRtRunner::~TensorRtRunner() {
    int previous = 0;
    cudaGetDevice(&previous);
    cudaSetDevice(device_);
    release();
    cudaSetDevice(previous);
}

void TensorRtRunner::prepare(std::filesystem::path const& plugin) {
    load(plugin);
    stream_ = make_stream();
    make_context();
    std::int64_t const pixels = shape_[0] * shape_[1] * shape_[2];
    bind(kInput, input_, 3 * pixels);
    bind(kOutput, output_, pixels);
}

//! What TensorRT and CUDA gave, in the order in which they want it back.
void TensorRtRunner::release() noexcept {
    graph_.reset();
    context_.reset();
    input_ = Buffer();
    output_ = Buffer();
    stream_.reset();
    engine_.reset();
    runtime_.reset();
}

void TensorRtRunner::load(std::filesystem::path const& plugin) {
    take_log();
    runtime_.reset(nvinfer1::createInferRuntime(tensorrt_log()));
    std::string const reason = take_log();
    if (!runtime_ || reason != "no reason given") {
        // TensorRT 10.16 gives one even then; using or destroying it ends the process.
        static_cast<void>(runtime_.release());
        throw explain(file_, reason, device_);
    }
    load_plugins(plugin);
    // Such an engine brings the code that runs it, which TensorRT wants to be allowed.
    runtime_->setEngineHostCodeAllowed(file_.version_compatible);
    engine_.reset(runtime_->deserializeCudaEngine(file_.plan.data(), file_.plan.size()));
    if (!engine_) {
        throw refusal();
    }
    std::string().swap(file_.plan);  // an assignment would keep the memory
}

void TensorRtRunner::load_plugins(std::filesystem::path const& plugin) {
    if (file_.plugins.count(kPlugin) != 0) {
        // An engine that brings its own runtime looks in that runtime's registry.
        load_plugin(file_.version_compatible ? runtime_->getPluginRegistry() : *getPluginRegistry(),
                    plugin);
    }
    if (file_.plugins.size() > file_.plugins.count(kPlugin)) {
        initLibNvInferPlugins(&tensorrt_log(), "");
    }
}

void TensorRtRunner::make_context() {
    int const profile = file_.pick_profile(shape_);
    context_.reset(engine_->createExecutionContext());
    if (!context_) {
        throw refusal();
    }
    nvinfer1::Dims dims{};
    dims.nbDims = static_cast<std::int32_t>(shape_.size());
    std::copy(shape_.begin(), shape_.end(), dims.d);
    bool const ready =
        (profile == 0 || context_->setOptimizationProfileAsync(profile, stream_.get())) &&
        context_->setInputShape(kInput, dims) && context_->allInputDimensionsSpecified();
    if (!ready) {
        throw refusal();
    }
}

void TensorRtRunner::bind(char const* name, Buffer& buffer, std::int64_t size) {
    nvinfer1::Dims const dims = context_->getTensorShape(name);
    std::int64_t found = dims.nbDims < 1 ? 0 : 1;
    for (int axis = 0; axis < dims.nbDims; ++axis) {
        found *= dims.d[axis];
    }
    if (found != size || engine_->getTensorDataType(name) != nvinfer1::DataType::kUINT8) {
        throw Error(file_.path.string() + " has no `" + name + "` of " + std::to_string(size) +
                    " bytes; build it again here: " + file_.rebuild());
    }
    buffer = Buffer(static_cast<std::size_t>(size));
    if (!context_->setTensorAddress(name, buffer.device())) {
        throw refusal();
    }
}

std::uint8_t const* TensorRtRunner::run() {
    DeviceScope const scope(device_);
    if (graph_) {
        check(cudaGraphLaunch(graph_.get(), stream_.get()), "the network");
    } else {
        queue();
    }
    check(cudaStreamSynchronize(stream_.get()), "the network");
    // What TensorRT does once per shape is done by now and does not get into the graph.
    if (capture_next_) {
        capture_next_ = false;
        capture();
    }
    return output_.host();
}

//! Put the copy of the input, the layers and the copy of the labels into the stream.
void TensorRtRunner::queue() {
    input_.upload(stream_.get());
    if (!context_->enqueueV3(stream_.get())) {
        throw refusal();
    }
    output_.download(stream_.get());
}

//! Keep the work as a graph; without one every image is queued anew.
void TensorRtRunner::capture() {
    cudaGraph_t graph = nullptr;
    try {
        check(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal), "a graph");
        try {
            queue();
        } catch (...) {  // too little memory for a message, too
            cudaStreamEndCapture(stream_.get(), &graph);
            throw;
        }
        check(cudaStreamEndCapture(stream_.get(), &graph), "a graph");
        cudaGraphExec_t ready = nullptr;
        check(cudaGraphInstantiateWithFlags(&ready, graph, 0), "a graph");
        graph_.reset(ready);
    } catch (...) {  // the labels are there all the same
    }
    if (graph != nullptr) {
        cudaGraphDestroy(graph);
    }
    cudaGetLastError();
}

}  // namespace

std::unique_ptr<Runner> load_tensorrt(std::filesystem::path const& model, Options const& options) {
    return std::make_unique<TensorRtRunner>(EngineFile::read(model), options);
}

}  // namespace emca::detail
