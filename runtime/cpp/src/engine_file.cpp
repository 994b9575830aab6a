#include "engine_file.hpp"

#include <algorithm>
#include <tuple>

#include <nlohmann/json.hpp>

#include "files.hpp"

namespace fs = std::filesystem;

namespace emca::detail {
namespace {

constexpr char const* kFormat = "1";  // ENGINE_FORMAT of runtime/backends/engine_file.py
constexpr char const* kAgain = "build the engine again";

Shape shape_of(nlohmann::json const& values) {
    Shape shape{};
    auto const sizes = whole_numbers(values, shape.size(), 1, kLargest);
    std::copy(sizes.begin(), sizes.end(), shape.begin());
    return shape;
}

std::string joined(std::vector<std::string> const& words, char const* between) {
    std::string result;
    for (std::string const& word : words) {
        result += (&word == &words.front() ? "" : between) + word;
    }
    return result;
}

//! Of plugin libraries the JSON knows no names: FILE stands for them.
std::vector<std::string> build_options(nlohmann::json const& values) {
    nlohmann::json const none;
    auto const told = [&settings = values.at("settings"), &none](char const* key) {
        return settings.value(key, none);
    };
    std::vector<std::string> words;
    if (auto const plugins = told("plugins"); !plugins.is_null()) {
        auto const names = plugins.get<std::vector<std::string>>();
        words.push_back(names.empty() ? "--no-plugin" : "--plugins=" + joined(names, ","));
    }
    if (auto const bytes = told("workspace"); !bytes.is_null() && bytes != 0) {
        words.push_back("--memPoolSize=workspace:" + bytes.dump() + "B");
    }
    if (auto const level = told("optimization_level"); !level.is_null()) {
        words.push_back("--builderOptimizationLevel=" + level.dump());
    }
    if (told("tf32") == false) {
        words.push_back("--noTF32");
    }
    if (values.at("version_compatible").get<bool>()) {
        words.push_back("--versionCompatible");
    }
    if (auto level = values.at("hardware_compatibility").get<std::string>(); level != "none") {
        level = level == "ampere_plus"               ? "ampere+"
                : level == "same_compute_capability" ? "sameComputeCapability"
                                                     : level;
        words.push_back("--hardwareCompatibilityLevel=" + level);
    }
    if (told("keep_anyway") == true) {
        words.push_back("--keepAnyway");
    }
    words.insert(words.end(), told("libraries").size(), "--dynamicPlugins=FILE");
    return words;
}

//! The options for these profiles; none for the one that is built without any.
std::vector<std::string> shape_options(std::vector<Profile> const& profiles) {
    std::vector<std::string> words;
    Profile const& only = profiles.front();
    if (profiles.size() == 1 && only.minimum[0] == 1 && only.maximum[0] == 1) {
        return words;
    }
    auto const add = [&words](char const* option, Shape const& shape) {
        std::vector<std::string> sizes;
        for (std::int64_t const size : shape) {
            sizes.push_back(std::to_string(size));
        }
        words.push_back(option + ("=image:" + joined(sizes, "x")));
    };
    for (std::size_t index = 0; index < profiles.size(); ++index) {
        if (profiles.size() > 1) {
            words.push_back("--profile=" + std::to_string(index));
        }
        add("--minShapes", profiles[index].minimum);
        add("--optShapes", profiles[index].optimum);
        add("--maxShapes", profiles[index].maximum);
    }
    return words;
}

void read_values(EngineFile& engine, nlohmann::json const& values) {
    values.at("version").get_to(engine.version);
    values.at("device").get_to(engine.device);
    values.at("compute_capabilities").get_to(engine.compute_capabilities);
    values.at("version_compatible").get_to(engine.version_compatible);
    values.at("hardware_compatibility").get_to(engine.hardware_compatibility);
    for (auto const& profile : values.at("profiles").get<std::vector<nlohmann::json>>()) {
        engine.profiles.push_back({shape_of(profile.at("minimum")), shape_of(profile.at("optimum")),
                                   shape_of(profile.at("maximum"))});
    }
    for (auto const& [name, count] : values.at("plugins").get<nlohmann::json::object_t>()) {
        engine.plugins.insert(name);
    }
    engine.onnx = engine.path.parent_path() / values.at("onnx_path").get<std::string>();
    engine.options = build_options(values);
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

std::string EngineFile::rebuild(std::vector<Profile> const& others) const {
    std::error_code code;
    std::vector<std::string> words{"python",
                                   "-m",
                                   "runtime.build",
                                   fs::exists(onnx, code) ? onnx.string() : "MODEL.onnx",
                                   "-o",
                                   path.string()};
    for (auto const& more : {shape_options(others), options}) {
        words.insert(words.end(), more.begin(), more.end());
    }
    std::transform(words.begin(), words.end(), words.begin(), quoted);
    return joined(words, " ");
}

std::int64_t EngineFile::batch() const {
    std::int64_t least = profiles.front().minimum[0];
    for (Profile const& profile : profiles) {
        least = std::min(least, profile.minimum[0]);
    }
    return least;
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
                    "; build it again: " + rebuild({Profile{shape, shape, shape}}));
    }
    return static_cast<int>(best - profiles.begin());
}

}  // namespace emca::detail
