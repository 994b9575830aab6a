#include "tensorrt_errors.hpp"

#include <algorithm>
#include <cctype>
#include <initializer_list>
#include <string_view>
#include <vector>

namespace emca::detail {
namespace {

std::vector<std::string>& errors() {
    thread_local std::vector<std::string> lines;
    return lines;
}

class Log final : public nvinfer1::ILogger {
public:
    void log(Severity severity, char const* message) noexcept override {
        if (severity > Severity::kERROR) {
            return;
        }
        try {
            auto& known = errors();
            std::string line = message;
            std::replace(line.begin(), line.end(), '\n', ' ');
            if (std::find(known.begin(), known.end(), line) == known.end()) {
                known.push_back(std::move(line));
            }
        } catch (...) {  // too little memory for a message
        }
    }
};

//! "10.16.1.11" to {10, 16, 1, 11}; of numbers that no version has, the first digits.
std::vector<int> numbers(std::string const& version) {
    std::vector<int> result;
    bool inside = false;
    for (char const letter : version) {
        bool const digit = std::isdigit(static_cast<unsigned char>(letter)) != 0;
        if (digit && !inside) {
            result.push_back(0);
        }
        if (digit && result.back() < 1'000'000) {
            result.back() = result.back() * 10 + (letter - '0');
        }
        inside = digit;
    }
    return result;
}

//! Major, minor and patch of the TensorRT at hand.
std::vector<int> installed() {
    int const number = getInferLibVersion();
    return {number / 10000, number / 100 % 100, number % 100};
}

std::string text(std::vector<int> const& version) {
    std::string result;
    for (int const part : version) {
        result += (result.empty() ? "" : ".") + std::to_string(part);
    }
    return result;
}

std::string lower(std::string_view words) {
    std::string result(words);
    std::transform(result.begin(), result.end(), result.begin(),
                   [](unsigned char letter) { return std::tolower(letter); });
    return result;
}

bool said(std::string const& reason, std::initializer_list<char const*> phrases) {
    return std::any_of(phrases.begin(), phrases.end(), [&reason](char const* phrase) {
        return lower(reason).find(lower(phrase)) != std::string::npos;
    });
}

std::string megabytes(std::size_t bytes) { return std::to_string(bytes / 1'000'000) + " MB"; }

}  // namespace

nvinfer1::ILogger& tensorrt_log() {
    static auto* const log = new Log;
    return *log;
}

std::string take_log() {
    std::string result;
    for (std::string const& line : errors()) {
        result += (result.empty() ? "" : "; ") + line;
    }
    errors().clear();
    return result.empty() ? "no reason given" : result;
}

void check_version(EngineFile const& engine) {
    auto built = numbers(engine.version);
    auto here = installed();
    if (built.size() < 2) {
        throw Error(engine.path.string() + ".json is damaged (version \"" + engine.version +
                    "\"); build the engine again");
    }
    // Some packages name three parts of the version, others four.
    built.resize(std::min(built.size(), here.size()));
    here.resize(built.size());
    if (here == built || (engine.version_compatible && here > built)) {
        return;
    }
    throw Error(engine.path.string() + " needs TensorRT " + engine.version +
                (engine.version_compatible ? " or later" : "") + ", which built it, and " +
                text(installed()) + " is installed; build it again here: " + engine.rebuild());
}

void check_gpu(EngineFile const& engine, Gpu const& gpu) {
    std::string const here = gpu.compute_capability();
    auto const& wanted = engine.compute_capabilities;
    std::string built = "GPUs of compute capability 8.0 or higher";
    bool fits = gpu.major >= 8;
    if (engine.hardware_compatibility != "ampere_plus") {
        fits = wanted.empty() || std::find(wanted.begin(), wanted.end(), here) != wanted.end();
        built = "compute capability";
        for (std::string const& one : wanted) {
            built += (&one == &wanted.front() ? " " : " or ") + one;
        }
        built += engine.device.empty() ? "" : " (" + engine.device + ")";
    }
    if (!fits) {
        throw Error(engine.path.string() + " was built for " + built + " and " + gpu.name +
                    " has " + here + "; build it again here: " + engine.rebuild());
    }
}

Error explain(EngineFile const& engine, std::string const& reason, int device) {
    std::string const path = engine.path.string();
    std::string const why = " (" + reason + "); build it again here: " + engine.rebuild();
    std::string const trt = "TensorRT " + text(installed());
    if (said(reason,
             {"out of memory", "outofmemory", "could not be allocated", "requested size was"})) {
        Gpu const gpu = describe(device);
        return Error("too little GPU memory for " + path + ": " + megabytes(gpu.free) + " of " +
                     megabytes(gpu.total) + " free (" + reason +
                     "); end other programs on the GPU "
                     "or build with a smaller --maxShapes");
    }
    if (said(reason, {"cannot find plugin"})) {
        return Error(path + " needs a plugin that " + trt + " does not find" + why);
    }
    if (said(reason, {"library version", "version tag", "older tensorrt version"})) {
        return Error(path + " is of another version than " + trt + why);
    }
    if (said(reason, {"incompatible device", "cannot run on this gpu", "compute capability"})) {
        return Error(path + " does not run on this GPU" + why);
    }
    if (said(reason, {"getenginehostcodeallowed"})) {
        return Error(path + " is version-compatible but its JSON says that it is not" + why +
                     " --versionCompatible");
    }
    if (said(reason, {"magic", "serialization"})) {
        return Error(path + " is damaged or no engine" + why);
    }
    if (said(reason, {"driver version is insufficient", "cuda initialization failure"})) {
        return Error(path + ": the NVIDIA driver is too old for " + trt + " (" + reason +
                     "); update the driver");
    }
    return Error(path + ": " + trt + " cannot run it" + why);
}

}  // namespace emca::detail
