// What TensorRT calls in this library: IPluginRegistry::loadLibrary looks the two functions up.
// REGISTER_TENSORRT_PLUGIN is not for us: it would register a second time, and needs the TensorRT
// that it was compiled for.
#include <dlfcn.h>

#include <atomic>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <type_traits>

#include <NvInferRuntime.h>

#include "log.h"
#include "prototype_attention_plugin.h"

#define EMCA_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};

// Loggers became versioned interfaces in TensorRT 11, with another virtual table. To call one of
// the other kind would end the process, just where a reason is to be given.
constexpr bool kVersionedHere =
    std::is_base_of_v<nvinfer1::IVersionedInterface, nvinfer1::ILoggerFinder>;

// The kind of loggers in the library that holds this code; nothing where its name does not tell.
std::optional<bool> versioned_in(void const* code) noexcept {
    Dl_info library{};
    if (dladdr(code, &library) == 0 || library.dli_fname == nullptr) {
        return std::nullopt;
    }
    char const* const slash = std::strrchr(library.dli_fname, '/');
    char const* const name = slash != nullptr ? slash + 1 : library.dli_fname;
    if (std::strncmp(name, "libtensorrt_rtx.", 16) == 0) {
        return true;
    }
    char const* const suffix = std::strstr(name, ".so.");  // libnvinfer.so.10
    if (std::strncmp(name, "libnvinfer", 10) != 0 || suffix == nullptr) {
        return std::nullopt;
    }
    return std::atoi(suffix + 4) >= 11;
}

nvinfer1::ILogger* find_logger() noexcept {
    nvinfer1::ILoggerFinder* const finder = logger_finder.load();
    try {
        return finder != nullptr ? finder->findLogger() : nullptr;
    } catch (...) {  // findLogger, unlike its callers, may throw
        return nullptr;
    }
}

}  // namespace

void emca::log_error(char const* format, ...) noexcept {
    char reason[512];
    std::va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);

    char message[600];
    std::snprintf(message, sizeof(message), "emca %s: %s", emca::kPluginName, reason);
    if (nvinfer1::ILogger* const logger = find_logger()) {
        logger->log(nvinfer1::ILogger::Severity::kERROR, message);
    } else {
        std::fprintf(stderr, "%s\n", message);
    }
}

//! The creators of this library; they live as long as it is loaded.
EMCA_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(std::int32_t& count) noexcept {
    static emca::PrototypeAttentionCreator creator;
    static nvinfer1::IPluginCreatorInterface* const creators[] = {&creator};
    count = 1;
    return creators;
}

//! Where to find the logger of the engine that calls a plugin; null for nowhere.
EMCA_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept {
    bool const usable =
        versioned_in(__builtin_return_address(0)).value_or(kVersionedHere) == kVersionedHere;
    logger_finder.store(usable ? finder : nullptr);
}
