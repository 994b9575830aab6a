// OpenVINO on the CPU: the graph and the options of runtime/backends/ov/backend.py, which
// runtime/to_openvino.py wrote down.
#include <exception>
#include <memory>
#include <sstream>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>
#include <openvino/openvino.hpp>

#include "files.hpp"
#include "runner.hpp"

namespace emca::detail {
namespace {

constexpr char const* kFormat = "1";  // FORMAT_VERSION of segdata/card.py
constexpr char const* kInput = "image";
constexpr char const* kOutput = "labels";
constexpr char const* kConvert = "convert it again: python -m runtime.to_openvino MODEL.onnx";

//! The last of the many lines of OpenVINO's errors, which gives the reason.
std::string reason_of(std::exception const& error) {
    std::istringstream lines(error.what());
    std::string reason = "no reason given";
    for (std::string line; std::getline(lines, line);) {
        if (line.find_first_not_of(" \t\r") != std::string::npos) {
            reason = line;
        }
    }
    return reason;
}

//! What runtime.to_openvino wrote down as the SHA-256 of the weights; empty where it is not there.
std::string fingerprint(std::string const& graph) {
    std::string const key = "<weights_sha256 value=\"";
    std::size_t const start = graph.rfind(key);
    return start == std::string::npos ? "" : graph.substr(start + key.size(), 64);
}

//! Whether a graph begins as OpenVINO writes it. What it does not know for its own it gives to its
//! readers of other formats, some of which print.
bool has_head(std::string const& graph) {
    std::string const start = "<?xml version=\"1.0\"?>\n<net name=\"";
    auto const version = graph.find("\" version=\"11\">\n", start.size());
    return graph.compare(0, start.size(), start) == 0 && version < graph.find('\n', start.size());
}

//! The one OpenVINO of the process, kept until it ends.
//!
//! Each gives the thread that makes it a stack for signal handlers, and the thread that lets it go
//! the one before. Another thread, or of two the wrong order, would leave freed memory to the next
//! signal (OpenVINO 2026.4, sigstack_manager.cpp).
std::shared_ptr<ov::Core> shared_core() {
    static auto const kept = std::make_shared<ov::Core>();
    return kept;
}

class OpenVinoRunner final : public Runner {
public:
    OpenVinoRunner(std::filesystem::path path, int threads);

    Card const& card() const override { return card_; }
    int batch() const override { return static_cast<int>(input_.get_shape()[0]); }
    std::uint8_t* input() override { return input_.data<std::uint8_t>(); }
    std::uint8_t const* run() override;

private:
    std::shared_ptr<ov::Model> read() const;
    std::string info(ov::Model const& network, char const* key) const;
    ov::AnyMap config_of(ov::Model const& network, int threads) const;
    void check(ov::Model const& network) const;

    std::filesystem::path path_;
    std::shared_ptr<ov::Core> core_ = shared_core();
    Card card_;
    ov::Tensor input_;
    ov::InferRequest request_;
};

OpenVinoRunner::OpenVinoRunner(std::filesystem::path path, int threads) : path_(std::move(path)) {
    std::string const where = path_.string();
    auto const network = read();
    card_ = Card::read(parse_json(info(*network, "card"), where, kConvert), where, kConvert);
    check(*network);
    ov::AnyMap const config = config_of(*network, threads);
    try {
        request_ =
            core_->compile_model(network, info(*network, "device"), config).create_infer_request();
        auto const batch = network->input().get_partial_shape()[0];
        input_ = ov::Tensor(ov::element::u8,
                            {batch.is_static() ? static_cast<std::size_t>(batch.get_length()) : 1,
                             static_cast<std::size_t>(card_.input_size.height),
                             static_cast<std::size_t>(card_.input_size.width), 3});
        request_.set_tensor(kInput, input_);
    } catch (ov::Exception const& error) {
        throw Error(where + ": OpenVINO cannot run it (" + reason_of(error) + "); " + kConvert);
    }
}

std::uint8_t const* OpenVinoRunner::run() {
    try {
        request_.infer();
        return request_.get_tensor(kOutput).data<std::uint8_t const>();
    } catch (ov::Exception const& error) {
        throw Error(path_.string() + ": OpenVINO failed (" + reason_of(error) +
                    "); load the model again");
    }
}

//! Both files, known to be whole and to belong together before OpenVINO sees them: it would run a
//! graph with any weights of the right size.
std::shared_ptr<ov::Model> OpenVinoRunner::read() const {
    std::filesystem::path weights = path_;
    weights.replace_extension(".bin");
    std::string const graph = read_file(path_, "check the path");
    std::string const wanted = fingerprint(graph);
    if (wanted.empty()) {
        throw Error(path_.string() + " is incomplete or was not written by runtime.to_openvino; " +
                    kConvert);
    }
    std::string const name = path_.filename().string();
    if (sha256(read_file(weights, "keep it beside " + name)) != wanted) {
        throw Error(weights.string() + " does not belong to " + name +
                    "; copy both files together, or " + kConvert);
    }
    if (!has_head(graph)) {
        throw Error(path_.string() + " is damaged (not the first lines of a graph); " + kConvert);
    }
    try {
        return core_->read_model(path_.string());
    } catch (ov::Exception const& error) {
        throw Error(path_.string() + " is damaged (" + reason_of(error) + "); " + kConvert);
    }
}

std::string OpenVinoRunner::info(ov::Model const& network, char const* key) const {
    std::string const version = network.has_rt_info("emca", "format_version")
                                    ? network.get_rt_info<std::string>("emca", "format_version")
                                    : "none";
    if (version != kFormat) {
        throw Error(path_.string() + " has metadata format " + version +
                    " but this version reads " + kFormat +
                    "; update this library or convert the model again");
    }
    if (!network.has_rt_info("emca", key)) {
        throw Error(path_.string() + ": " + key + " is missing; " + kConvert);
    }
    return network.get_rt_info<std::string>("emca", key);
}

//! What Python compiles the network with.
ov::AnyMap OpenVinoRunner::config_of(ov::Model const& network, int threads) const {
    auto const values = parse_json(info(network, "config"), path_.string(), kConvert);
    ov::AnyMap config;
    for (auto const& [key, value] : values.items()) {
        config[key] = value.is_string() ? value.get<std::string>() : value.dump();
    }
    if (threads > 0) {
        config["INFERENCE_NUM_THREADS"] = threads;
    }
    return config;
}

//! Throws unless images go in and labels come out.
void OpenVinoRunner::check(ov::Model const& network) const {
    auto const is = [](auto const& port, char const* name, ov::PartialShape const& shape) {
        return port.get_names().count(name) && port.get_element_type() == ov::element::u8 &&
               port.get_partial_shape().compatible(shape);
    };
    auto const any = ov::Dimension::dynamic();
    ov::Dimension const height = card_.input_size.height;
    ov::Dimension const width = card_.input_size.width;
    bool const ours = network.inputs().size() == 1 && network.outputs().size() == 1 &&
                      is(network.input(), kInput, {any, height, width, 3}) &&
                      is(network.output(), kOutput, {any, height, width});
    if (!ours) {
        throw Error(path_.string() +
                    " does not turn one uint8 image [N,H,W,3] into uint8 labels "
                    "[N,H,W]; " +
                    kConvert);
    }
}

}  // namespace

std::unique_ptr<Runner> load_openvino(std::filesystem::path const& model, Options const& options) {
    return std::make_unique<OpenVinoRunner>(model, options.threads);
}

}  // namespace emca::detail
