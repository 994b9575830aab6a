#include "plugin.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "emca/segmenter.hpp"
#include "tensorrt_errors.hpp"

namespace fs = std::filesystem;

namespace emca::detail {
namespace {

// PLUGIN_VERSION and PLUGIN_NAMESPACE of plugins/names.py.
constexpr char const* kVersion = "1";
constexpr char const* kNamespace = "emca";
constexpr char const* kFile = "libemca_plugin.so";
constexpr char const* kVariable = "EMCA_PLUGIN";
constexpr char const* kBuild = "make plugin";

//! The folder of this library, or of the program that it is part of.
fs::path own_folder() {
    Dl_info found{};
    static char const here = 0;
    return dladdr(&here, &found) != 0 ? fs::path(found.dli_fname).parent_path() : fs::path();
}

fs::path find() {
    if (char const* const variable = std::getenv(kVariable); variable && *variable) {
        if (!fs::is_regular_file(variable)) {
            throw Error(std::string(kVariable) + "=" + variable + " is no file; name " + kFile +
                        " or unset it");
        }
        return variable;
    }
    std::vector<fs::path> folders{own_folder()};
    char const* const path = std::getenv("LD_LIBRARY_PATH");
    std::istringstream words(path ? path : "");
    for (std::string word; std::getline(words, word, ':');) {
        if (!word.empty()) {
            folders.emplace_back(word);
        }
    }
    folders.insert(folders.end(), {"/usr/local/lib", "/usr/lib"});
    std::error_code code;
    for (fs::path const& folder : folders) {
        if (fs::is_regular_file(folder / kFile, code)) {
            return folder / kFile;
        }
    }
    throw Error(std::string(kFile) + ", the TensorRT plugin, is missing; build it with " + kBuild +
                " or name it with " + kVariable + "=/path/to/" + kFile);
}

//! Whether a 64-bit little-endian ELF file ends before its table of sections does.
bool is_truncated(fs::path const& path) {
    char head[64];
    std::ifstream file(path, std::ios::binary);
    if (!file.read(head, sizeof head) || std::memcmp(head,
                                                     "\x7f"
                                                     "ELF\x02\x01",
                                                     6) != 0) {
        return false;  // the linker knows what to say
    }
    std::uint64_t table = 0;
    std::uint16_t size = 0, count = 0;
    std::memcpy(&table, head + 40, sizeof table);
    std::memcpy(&size, head + 58, sizeof size);
    std::memcpy(&count, head + 60, sizeof count);
    return fs::file_size(path) < table + std::uint64_t{size} * count;
}

//! TensorRT's answer to a library that it cannot load is null; the linker gives the reason.
void check_library(fs::path const& path) {
    std::error_code code;
    if (!fs::is_regular_file(path, code)) {
        throw Error(path.string() + ": no such plugin; build it with " + kBuild);
    }
    if (is_truncated(path)) {  // the linker would end the process
        throw Error(path.string() + " is incomplete; build it again with " + kBuild);
    }
    void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        throw Error(path.string() + " cannot be loaded (" + dlerror() +
                    "); build it on this machine with " + kBuild);
    }
    bool const ours = dlsym(library, "getCreators") != nullptr;
    dlclose(library);
    if (!ours) {
        throw Error(path.string() + " is no TensorRT plugin library; build " + kFile + " with " +
                    kBuild);
    }
}

bool is_registered(nvinfer1::IPluginRegistry& registry) {
    bool const found = registry.getCreator(kPlugin, kVersion, kNamespace) != nullptr;
    take_log();  // which has an error where it is not
    return found;
}

}  // namespace

void load_plugin(nvinfer1::IPluginRegistry& registry, fs::path const& named) {
    // The registry is one for all threads and refuses what it has already.
    static std::mutex one_at_a_time;
    std::scoped_lock const lock(one_at_a_time);
    if (is_registered(registry)) {
        return;
    }
    fs::path const path = fs::absolute(named.empty() ? find() : named);
    check_library(path);
    void* const handle = registry.loadLibrary(path.c_str());
    std::string const reason = take_log();
    if (handle == nullptr) {
        throw Error(path.string() + " was refused by TensorRT (" + reason +
                    "); build it again with " + kBuild);
    }
    if (!is_registered(registry)) {
        throw Error(path.string() + " has no version " + kVersion + " of " + kPlugin +
                    "; build it again with " + kBuild);
    }
}

}  // namespace emca::detail
