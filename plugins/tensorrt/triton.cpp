// libemca_triton.so: registers libemca_plugin.so, which stands beside it, with the TensorRT of the
// process that opens it. For servers such as Triton, which open the libraries of
// --backend-config=tensorrt,plugins=… but, unlike trtexec and Python, do not ask them for creators.
#include <dlfcn.h>
#include <link.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

#include <NvInferRuntime.h>

namespace {

char const* const kNames[] = {"libnvinfer.so.", "libtensorrt_rtx.so."};

// The interfaces of TensorRT-RTX 1 are those of this version of TensorRT.
constexpr std::int32_t kMajorOfRtx = 11;

bool is_tensorrt(std::string const& path) {
    std::string const name = path.substr(path.rfind('/') + 1);
    for (char const* const start : kNames) {
        if (name.compare(0, std::strlen(start), start) == 0) {
            return true;
        }
    }
    return false;
}

int keep_tensorrt(dl_phdr_info* info, std::size_t, void* found) {
    std::string const path = info->dlpi_name != nullptr ? info->dlpi_name : "";
    if (is_tensorrt(path)) {
        *static_cast<std::string*>(found) = path;
        return 1;
    }
    return 0;
}

void fail(char const* reason) { std::fprintf(stderr, "emca: libemca_triton.so: %s\n", reason); }

// The server opened TensorRT for itself alone, so its functions are found by a handle only.
void register_plugin() {
    std::string tensorrt;
    dl_iterate_phdr(keep_tensorrt, &tensorrt);
    void* const library =
        tensorrt.empty() ? nullptr : dlopen(tensorrt.c_str(), RTLD_NOW | RTLD_NOLOAD);
    if (library == nullptr) {
        fail("no TensorRT is loaded yet: name it with --backend-config=tensorrt,plugins=…");
        return;
    }
    auto const version =
        reinterpret_cast<std::int32_t (*)()>(dlsym(library, "getInferLibMajorVersion"));
    auto const registry =
        reinterpret_cast<nvinfer1::IPluginRegistry* (*)()>(dlsym(library, "getPluginRegistry"));
    bool const rtx = tensorrt.find("libtensorrt_rtx") != std::string::npos;  // counts its own
    if (version == nullptr || registry == nullptr ||
        (rtx ? kMajorOfRtx : version()) != NV_TENSORRT_MAJOR) {
        fail("built for another major version of TensorRT: build it again with make plugin");
        return;
    }
    Dl_info own{};
    dladdr(reinterpret_cast<void const*>(&register_plugin), &own);
    std::string const here = own.dli_fname != nullptr ? own.dli_fname : "";
    std::string const plugin = here.substr(0, here.rfind('/') + 1) + "libemca_plugin.so";
    if (registry()->loadLibrary(plugin.c_str()) == nullptr) {
        fail("TensorRT does not take libemca_plugin.so beside it");
    }
}

}  // namespace

__attribute__((constructor)) static void on_load() noexcept {
    try {
        register_plugin();
    } catch (...) {  // out of memory; nothing may leave a constructor of a library
        fail("out of memory");
    }
}
