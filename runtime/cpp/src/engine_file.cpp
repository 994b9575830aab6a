#include "engine_file.hpp"

#include <algorithm>
#include <set>
#include <tuple>

#include <nlohmann/json.hpp>

#include "files.hpp"

namespace fs = std::filesystem;

namespace emca::detail {
namespace {

constexpr char const* kFormat = "1";  // ENGINE_FORMAT of runtime/backends/engine_file.py
constexpr char const* kAgain = "build the engine again";

void read_values(EngineFile& engine, nlohmann::json const& values) {
    values.at("version").get_to(engine.version);
    values.at("device").get_to(engine.device);
    values.at("compute_capabilities").get_to(engine.compute_capabilities);
    values.at("version_compatible").get_to(engine.version_compatible);
    values.at("hardware_compatibility").get_to(engine.hardware_compatibility);
    for (auto const& profile : values.at("profiles")) {
        engine.profiles.push_back({profile.at("minimum").get<Shape>(),
                                   profile.at("optimum").get<Shape>(),
                                   profile.at("maximum").get<Shape>()});
    }
    for (auto const& [name, count] : values.at("plugins").items()) {
        engine.plugins.insert(name);
    }
    auto const onnx = engine.path.parent_path() / values.at("onnx_path").get<std::string>();
    std::error_code code;
    engine.rebuild = "python -m runtime.build " +
                     (fs::exists(onnx, code) ? onnx.string() : "MODEL.onnx") + " -o " +
                     engine.path.string();
    auto const& settings = values.at("settings");
    if (settings.contains("plugins") && settings.at("plugins").empty()) {
        engine.rebuild += " --no-plugin";
    }
}

//! The JSON beside an engine, of the right version and backend.
nlohmann::json read_json(fs::path const& path, fs::path const& described) {
    std::error_code code;
    if (!fs::exists(described, code)) {
        throw Error(described.string() +
                    " is missing; keep it beside its engine, or build both "
                    "again with python -m runtime.build");
    }
    auto const values = parse_json(read_file(described, kAgain), described.string(), kAgain);
    std::string const version =
        values.is_object() ? values.value("format_version", "none") : "none";
    if (version != kFormat) {
        throw Error(described.string() + " has format " + version + " but this version reads " +
                    kFormat + "; build the engine again or update this library");
    }
    std::string const backend = values.value("backend", "");
    if (backend != "tensorrt") {
        throw Error(path.string() + " is an engine for " + (backend.empty() ? "nothing" : backend) +
                    " and C++ runs those of tensorrt; build it again without --backend");
    }
    return values;
}

}  // namespace

bool Profile::allows(Shape const& shape) const {
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
        if (shape[axis] < minimum[axis] || shape[axis] > maximum[axis]) {
            return false;
        }
    }
    return true;
}

EngineFile EngineFile::read(fs::path const& path) {
    EngineFile engine;
    engine.path = path;
    std::error_code code;
    if (!fs::is_regular_file(path, code)) {
        throw Error(path.string() + ": no such engine; build it with python -m runtime.build");
    }
    fs::path const described = path.string() + ".json";
    try {
        auto const values = read_json(path, described);
        engine.card = Card::read(values.at("card"), described.string(), kAgain);
        read_values(engine, values);
        engine.plan = read_file(path, kAgain);
        if (values.at("engine_sha256") != sha256(engine.plan)) {
            throw Error(path.string() + " is not the engine that " + described.filename().string() +
                        " describes; copy both files together, or build the engine again");
        }
    } catch (nlohmann::json::exception const& error) {
        throw Error(described.string() + " is damaged (" + error.what() + "); " + kAgain);
    }
    if (engine.profiles.empty()) {
        throw Error(described.string() + " has no profile; " + kAgain);
    }
    return engine;
}

std::int64_t EngineFile::batch() const {
    std::set<std::int64_t> sizes;
    for (Profile const& profile : profiles) {
        sizes.insert({profile.minimum[0], profile.maximum[0]});
    }
    return sizes.size() == 1 ? *sizes.begin() : 1;
}

int EngineFile::pick_profile(Shape const& shape) const {
    auto const cost = [&shape](Profile const& profile) {
        return std::tuple(!profile.allows(shape), profile.optimum != shape,
                          profile.maximum[0] - profile.minimum[0]);
    };
    auto const best =
        std::min_element(profiles.begin(), profiles.end(),
                         [&cost](Profile const& a, Profile const& b) { return cost(a) < cost(b); });
    if (!best->allows(shape)) {
        throw Error(path.string() + " takes no batch of " + std::to_string(shape[0]) + " at " +
                    std::to_string(shape[1]) + "x" + std::to_string(shape[2]) +
                    "; build it again with a --minShapes that allows it: " + rebuild);
    }
    return static_cast<int>(best - profiles.begin());
}

}  // namespace emca::detail
