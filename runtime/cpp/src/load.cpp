#include <string>

#include "files.hpp"
#include "runner.hpp"

namespace emca::detail {
namespace {

//! The backend for a file of this name.
Backend of_suffix(std::filesystem::path const& model) {
    std::string const suffix = model.extension().string();
    if (suffix == ".xml") {
        return Backend::openvino;
    }
    if (suffix == ".engine" || suffix == ".plan") {
        return Backend::tensorrt;
    }
    if (suffix == ".onnx") {
        throw Error(model.string() + ": convert it first: python -m runtime.to_openvino " +
                    quoted(model.string()) + " for a CPU, python -m runtime.build " +
                    quoted(model.string()) + " for an NVIDIA GPU");
    }
    throw Error(model.string() +
                " is no model for C++; give NAME.xml of python -m "
                "runtime.to_openvino or NAME.engine of python -m runtime.build");
}

char const* name_of(Backend backend) {
    return backend == Backend::openvino ? "openvino" : "tensorrt";
}

[[maybe_unused]] Error left_out(std::filesystem::path const& model, std::string const& name,
                                std::string const& option) {
    return Error(model.string() + " needs " + name + ", which this library was built without; " +
                 "build it with -D" + option + "=ON");
}

}  // namespace

Loaded load(std::filesystem::path const& model, Options const& options) {
    Backend const backend = of_suffix(model);
    if (options.backend != Backend::automatic && options.backend != backend) {
        throw Error(model.string() + " is a file for " + name_of(backend) +
                    "; leave the backend to the suffix");
    }
    if (options.threads < 0) {
        throw Error(std::to_string(options.threads) +
                    " threads are too few; take 1 or more, or 0 for every core");
    }
    if (backend == Backend::openvino) {
#ifdef EMCA_WITH_OPENVINO
        return {backend, load_openvino(model, options)};
#else
        throw left_out(model, "OpenVINO", "EMCA_WITH_OPENVINO");
#endif
    }
#ifdef EMCA_WITH_TENSORRT
    return {backend, load_tensorrt(model, options)};
#else
    throw left_out(model, "TensorRT", "EMCA_WITH_TENSORRT");
#endif
}

}  // namespace emca::detail
