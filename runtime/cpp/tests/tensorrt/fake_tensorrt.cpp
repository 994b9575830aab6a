// A plan is text: "refuse: REASON", or words that say how its engine misbehaves.
#include <cstdint>
#include <string>

#include <NvInferPlugin.h>
#include <NvInferRuntime.h>

#include "fake.hpp"
#include "stubs.hpp"

using namespace nvinfer1;
using fake::world;

namespace {

ILogger* logger = nullptr;

void error(std::string const& message) { logger->log(ILogger::Severity::kERROR, message.c_str()); }

bool is(char const* name, char const* expected) { return std::string(name) == expected; }

class Context final : public IExecutionContext, fake::StubContext {
public:
    explicit Context(std::string plan) : plan_(std::move(plan)) {
        mImpl = this;
        world.profile = 0;
        ++world.live;
    }
    ~Context() noexcept override { --world.live; }

    bool setOptimizationProfileAsync(std::int32_t index, cudaStream_t) noexcept override {
        world.profile = index;
        return true;
    }
    bool setInputShape(char const* name, Dims const& dims) noexcept override {
        shape_ = dims;
        return is(name, "image");
    }
    bool allInputDimensionsSpecified() const noexcept override { return true; }
    Dims getTensorShape(char const* name) const noexcept override {
        Dims result = shape_;
        result.nbDims = is(name, "image") ? 4 : is(name, "labels") ? 3 : -1;
        return result;
    }
    bool setTensorAddress(char const* name, void* data) noexcept override {
        (is(name, "image") ? image_ : labels_) = static_cast<std::uint8_t*>(data);
        return true;
    }
    bool enqueueV3(cudaStream_t stream) noexcept override {
        if (plan_ == "enqueue fails" || (plan_ == "capture fails" && fake::is_capturing(stream))) {
            error("enqueue: some layer failed");
            return false;
        }
        ++world.enqueued;
        std::int64_t const pixels = shape_.d[0] * shape_.d[1] * shape_.d[2];
        fake::queue(stream, [image = image_, labels = labels_, pixels] {
            for (std::int64_t i = 0; i < pixels; ++i) {
                std::uint8_t const* const pixel = image + 3 * i;
                labels[i] = static_cast<std::uint8_t>(fake::label(pixel[0], pixel[1], pixel[2]));
            }
        });
        return true;
    }

private:
    std::string plan_;
    Dims shape_{};
    std::uint8_t* image_ = nullptr;
    std::uint8_t* labels_ = nullptr;
};

class Engine final : public ICudaEngine, fake::StubEngine {
public:
    explicit Engine(std::string plan) : plan_(std::move(plan)) {
        mImpl = this;
        ++world.live;
    }
    ~Engine() noexcept override { --world.live; }

    IExecutionContext* createExecutionContext(
        ExecutionContextAllocationStrategy) noexcept override {
        if (plan_ == "no context") {
            error("OutOfMemory: Requested size was 512000000 bytes");
            return nullptr;
        }
        return new Context(plan_);
    }
    DataType getTensorDataType(char const* name) const noexcept override {
        return plan_ == "float labels" && is(name, "labels") ? DataType::kFLOAT : DataType::kUINT8;
    }

private:
    std::string plan_;
};

class Registry final : public fake::StubRegistry {
public:
    IPluginCreatorInterface* getCreator(AsciiChar const* name, AsciiChar const* version,
                                        AsciiChar const* space) noexcept override {
        if (world.has_plugin && is(name, "PrototypeAttention") && is(version, "1") &&
            is(space, "emca")) {
            return reinterpret_cast<IPluginCreatorInterface*>(this);
        }
        error("getCreator: no such plugin");
        return nullptr;
    }
    PluginLibraryHandle loadLibrary(AsciiChar const* path) noexcept override {
        world.loaded = path;
        if (world.refuses_plugins) {
            error("loadLibrary: refused");
            return nullptr;
        }
        world.has_plugin = world.loaded.find("other") == std::string::npos;
        return this;
    }
};
Registry registry;

class Runtime final : public IRuntime, fake::StubRuntime {
public:
    Runtime() {
        mImpl = this;
        ++world.live;
    }
    ~Runtime() noexcept override { --world.live; }

    void setEngineHostCodeAllowed(bool allowed) noexcept override { world.host_code = allowed; }
    IPluginRegistry& getPluginRegistry() noexcept override { return registry; }
    ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept override {
        std::string const plan(static_cast<char const*>(blob), size);
        if (plan.rfind("refuse: ", 0) == 0) {
            error(plan.substr(8));
            return nullptr;
        }
        return new Engine(plan);
    }
};

}  // namespace

extern "C" {

void* createInferRuntime_INTERNAL(void* log, std::int32_t) noexcept {
    logger = static_cast<ILogger*>(log);
    IRuntime* const runtime = new Runtime;
    if (world.runtime_fails) {
        error("CUDA initialization failure with error: 35");
        [[maybe_unused]] static IRuntime* volatile left_behind;  // on purpose, which is no leak
        left_behind = runtime;
    }
    return runtime;
}
std::int32_t getInferLibVersion() noexcept { return 100300; }
IPluginRegistry* getPluginRegistry() noexcept { return &registry; }
bool initLibNvInferPlugins(void*, char const*) {
    world.other_plugins = true;
    return true;
}

}  // extern "C"
