// Calls the plugin as TensorRT does, without TensorRT and without a GPU.
//
//   shell_check LIBEMCA_PLUGIN.so [--no-gpu]
//
// Prints a line for every case, its result and what was logged; exits with 1 where a case that
// could not be printed went wrong.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <NvInferRuntime.h>

using namespace nvinfer1;

namespace {

void expect(bool condition, char const* what) {
    if (!condition) {
        std::fprintf(stderr, "wrong: %s\n", what);
        std::exit(1);
    }
}

class Log : public ILogger {
public:
    std::string text;
    void log(Severity severity, char const* message) noexcept override {
        expect(severity == Severity::kERROR, "severity");
        text += message;
    }
};

class Finder : public ILoggerFinder {
public:
    Log logger;
    bool throws = false;
    ILogger* findLogger() override {
        if (throws) {
            throw std::runtime_error("no logger");
        }
        return &logger;
    }
};

Finder finder;

void report(char const* name, bool succeeded) {
    std::printf("%s: %s: %s\n", name, succeeded ? "yes" : "no", finder.logger.text.c_str());
    finder.logger.text.clear();
}

struct Shapes {
    std::vector<std::int64_t> query, feature, mask;
};

Dims dims(std::vector<std::int64_t> const& sizes) {
    Dims result{};
    result.nbDims = static_cast<std::int32_t>(sizes.size());
    std::copy(sizes.begin(), sizes.end(), result.d);
    return result;
}

PluginTensorDesc tensor(std::vector<std::int64_t> const& sizes, DataType type) {
    PluginTensorDesc result{};
    result.dims = dims(sizes);
    result.type = type;
    result.format = TensorFormat::kLINEAR;
    result.scale = 1.F;
    return result;
}

//! Inputs and outputs of a call.
std::vector<PluginTensorDesc> tensors(Shapes const& shapes, DataType type = DataType::kHALF) {
    return {tensor(shapes.query, type), tensor(shapes.feature, type), tensor(shapes.mask, type),
            tensor(shapes.query, type), tensor(shapes.query, type)};
}

//! The same of an optimization profile that ends at `shapes`.
std::vector<DynamicPluginTensorDesc> profile(Shapes const& shapes) {
    std::vector<DynamicPluginTensorDesc> result;
    for (PluginTensorDesc const& desc : tensors(shapes)) {
        DynamicPluginTensorDesc bounds{};
        bounds.desc = desc;
        bounds.max = desc.dims;
        for (int axis = 0; axis < desc.dims.nbDims; ++axis) {
            bounds.desc.dims.d[axis] = -1;
        }
        result.push_back(bounds);
    }
    return result;
}

template <typename T>
T* capability(IPluginV3& plugin, PluginCapabilityType type) {
    return static_cast<T*>(plugin.getCapabilityInterface(type));
}

void check_creation(IPluginCreatorV3One& creator) {
    auto const make = [&creator](std::vector<PluginField> const& fields) {
        PluginFieldCollection const collection{static_cast<std::int32_t>(fields.size()),
                                               fields.data()};
        return std::unique_ptr<IPluginV3>{
            creator.createPlugin("cross", &collection, TensorRTPhase::kBUILD)};
    };
    std::int32_t const heads[] = {8, 0, -1};
    std::int64_t const wide = 8;
    auto const field = [](void const* data, PluginFieldType type, int length) {
        return PluginField{"num_heads", data, type, length};
    };
    using Type = PluginFieldType;
    report("create", make({PluginField{"other"}, field(&heads[0], Type::kINT32, 1)}) != nullptr);
    report("create without fields", make({}) != nullptr);
    report("create without collection",
           creator.createPlugin(nullptr, nullptr, TensorRTPhase::kRUNTIME) != nullptr);
    report("create with zero", make({field(&heads[1], Type::kINT32, 1)}) != nullptr);
    report("create with minus one", make({field(&heads[2], Type::kINT32, 1)}) != nullptr);
    report("create with two", make({field(&heads[0], Type::kINT32, 2)}) != nullptr);
    report("create with INT64", make({field(&wide, Type::kINT64, 1)}) != nullptr);
    report("create with null", make({field(nullptr, Type::kINT32, 1)}) != nullptr);
}

void check_build(IPluginV3& plugin) {
    auto* const build = capability<IPluginV3OneBuild>(plugin, PluginCapabilityType::kBUILD);
    expect(build->getNbOutputs() == 2, "two outputs");

    DataType const half[] = {DataType::kHALF, DataType::kHALF, DataType::kHALF};
    DataType const mixed[] = {DataType::kHALF, DataType::kFLOAT, DataType::kHALF};
    DataType types[2] = {DataType::kINT32, DataType::kINT32};
    report("types", build->getOutputDataTypes(types, 2, half, 3) == 0);
    expect(types[0] == DataType::kHALF && types[1] == DataType::kHALF, "types of the outputs");
    report("mixed types", build->getOutputDataTypes(types, 2, mixed, 3) == 0);
    report("two inputs", build->getOutputDataTypes(types, 2, half, 2) == 0);

    Shapes const large{{2, 100, 256}, {2, 4096, 256}, {2, 100, 4096}};
    auto bounds = profile(large);
    for (int position = 0; position < 5; ++position) {
        expect(build->supportsFormatCombination(position, bounds.data(), 3, 2), "FP16");
    }
    bounds[4].desc.type = DataType::kFLOAT;
    expect(!build->supportsFormatCombination(4, bounds.data(), 3, 2), "an output of another type");
    bounds[1].desc.format = TensorFormat::kCHW2;
    expect(!build->supportsFormatCombination(1, bounds.data(), 3, 2), "another format");
    bounds[0].desc.type = DataType::kINT32;
    expect(!build->supportsFormatCombination(0, bounds.data(), 3, 2), "INT32");

    auto const configure = [build](Shapes const& shapes) {
        auto const bounds = profile(shapes);
        return build->configurePlugin(bounds.data(), 3, bounds.data() + 3, 2) == 0;
    };
    report("configure", configure(large));
    report("configure with uneven bounds",
           configure({{2, 100, 256}, {4, 4000, 256}, {2, 90, 4096}}));
    report("configure with 513 channels", configure({{1, 1, 513}, {1, 1, 513}, {1, 1, 1}}));
    report("configure without bounds", configure({{-1, -1, 256}, {-1, -1, 256}, {-1, -1, -1}}));
    std::int64_t const huge = std::int64_t{1} << 32;
    report("configure with 2^32 positions", configure({{1, 1, 8}, {1, huge, 8}, {1, 1, huge}}));

    auto const workspace = [build](Shapes const& shapes) {
        auto const bounds = profile(shapes);
        return build->getWorkspaceSize(bounds.data(), 3, bounds.data() + 3, 2);
    };
    std::size_t const uneven = workspace({{2, 90, 256}, {2, 4000, 256}, {2, 100, 4096}});
    expect(uneven == workspace(large), "workspace of the largest sizes");
    expect(uneven > workspace({{1, 100, 256}, {1, 4096, 256}, {1, 100, 4096}}), "workspace");
}

void check_runtime(IPluginV3& plugin, bool without_gpu) {
    auto* const runtime = capability<IPluginV3OneRuntime>(plugin, PluginCapabilityType::kRUNTIME);
    auto const change = [runtime](Shapes const& shapes) {
        auto const descs = tensors(shapes);
        return runtime->onShapeChange(descs.data(), 3, descs.data() + 3, 2) == 0;
    };
    Shapes const good{{1, 3, 16}, {1, 5, 16}, {1, 3, 5}};
    report("shape", change(good));
    report("shape of two batches", change({{1, 3, 16}, {2, 5, 16}, {1, 3, 5}}));
    report("shape without positions", change({{1, 3, 16}, {1, 0, 16}, {1, 3, 0}}));
    report("shape of 12 channels", change({{1, 3, 12}, {1, 5, 12}, {1, 3, 5}}));
    report("shape of four dimensions", change({{1, 1, 3, 16}, {1, 5, 16}, {1, 3, 5}}));

    alignas(16) static char memory[6][4096];
    void const* const inputs[] = {memory[0], memory[1], memory[2]};
    void const* const shifted[] = {memory[0], memory[1] + 2, memory[2]};
    void* const outputs[] = {memory[3], memory[4]};
    void* const nowhere[] = {memory[3], nullptr};
    auto const descs = tensors(good);
    auto const enqueue = [&](void const* const* in, void* const* out, void* workspace) {
        return runtime->enqueue(descs.data(), descs.data() + 3, in, out, workspace, nullptr) == 0;
    };
    report("run on shifted memory", enqueue(shifted, outputs, memory[5]));
    report("run without an output", enqueue(inputs, nowhere, memory[5]));
    report("run without workspace", enqueue(inputs, outputs, nullptr));
    if (without_gpu) {
        report("run without a GPU", enqueue(inputs, outputs, memory[5]));
    }
}

//! What an engine keeps makes the same plugin again, also after its first owner is gone.
void check_copies(IPluginCreatorV3One& creator, std::unique_ptr<IPluginV3> plugin) {
    std::unique_ptr<IPluginV3> const clone{plugin->clone()};
    std::unique_ptr<IPluginV3> const attached{
        capability<IPluginV3OneRuntime>(*clone, PluginCapabilityType::kRUNTIME)
            ->attachToContext(nullptr)};
    plugin.reset();
    auto* const core = capability<IPluginV3OneCore>(*attached, PluginCapabilityType::kCORE);
    auto* const runtime = capability<IPluginV3OneRuntime>(*attached, PluginCapabilityType::kRUNTIME);
    PluginFieldCollection const* const kept = runtime->getFieldsToSerialize();
    expect(kept->nbFields == 1 && std::strcmp(kept->fields[0].name, "num_heads") == 0, "fields");
    expect(*static_cast<std::int32_t const*>(kept->fields[0].data) == 8, "num_heads");
    std::unique_ptr<IPluginV3> const again{
        creator.createPlugin(core->getPluginName(), kept, TensorRTPhase::kRUNTIME)};
    expect(again != nullptr, "made again");
    auto const descs = tensors({{1, 3, 12}, {1, 5, 12}, {1, 3, 5}});
    auto* const other = capability<IPluginV3OneRuntime>(*again, PluginCapabilityType::kRUNTIME);
    expect(other->onShapeChange(descs.data(), 3, descs.data() + 3, 2) != 0, "12 channels, 8 heads");
    report("made again", again != nullptr);
}

}  // namespace

int main(int count, char** arguments) {
    expect(count >= 2, "usage: shell_check LIBEMCA_PLUGIN.so [--no-gpu]");
    void* const library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    expect(library != nullptr, "the library loads");
    using GetCreators = IPluginCreatorInterface* const* (*)(std::int32_t&);
    using SetLoggerFinder = void (*)(ILoggerFinder*);
    auto const get = reinterpret_cast<GetCreators>(dlsym(library, "getCreators"));
    auto const set = reinterpret_cast<SetLoggerFinder>(dlsym(library, "setLoggerFinder"));
    expect(get != nullptr && set != nullptr, "both entry points");

    std::int32_t creators = 0;
    auto& creator = *static_cast<IPluginCreatorV3One*>(get(creators)[0]);
    expect(creators == 1, "one creator");
    std::printf("name: %s %s %s\n", creator.getPluginName(), creator.getPluginVersion(),
                creator.getPluginNamespace());
    set(&finder);
    check_creation(creator);

    std::int32_t const heads = 8;
    PluginField const field{"num_heads", &heads, PluginFieldType::kINT32, 1};
    PluginFieldCollection const fields{1, &field};
    std::unique_ptr<IPluginV3> plugin{creator.createPlugin("", &fields, TensorRTPhase::kBUILD)};
    check_build(*plugin);
    check_runtime(*plugin, count == 3);
    check_copies(creator, std::move(plugin));

    // Without a logger the reason goes to stderr.
    finder.throws = true;
    creator.createPlugin("throwing", nullptr, TensorRTPhase::kBUILD);
    set(nullptr);
    creator.createPlugin("null", nullptr, TensorRTPhase::kBUILD);
    return 0;
}
