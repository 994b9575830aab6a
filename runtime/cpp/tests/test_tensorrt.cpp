// Segmenter on TensorRT, which tensorrt/fake_*.cpp play; the engines are golden.py's.
#include <cstdlib>
#include <fstream>
#include <thread>

#include "engine_file.hpp"
#include "files.hpp"
#include "golden_images.hpp"
#include "preprocess.hpp"
#include "tensorrt/fake.hpp"

using emca::Channels;
using emca::Options;
using emca::Segmenter;
using fake::world;
namespace fs = std::filesystem;

namespace {

fs::path engines;  // the folder of golden.py's

Segmenter load(std::string const& name, Options const& options = {}) {
    return Segmenter(engines / (name + ".engine"), options);
}

cv::Mat expected(cv::Mat const& image) {
    cv::Mat input(48, 64, CV_8UC3), result;
    emca::detail::fit(image, Channels::bgr, input);
    cv::Mat labels(input.size(), CV_8UC1);
    for (int row = 0; row < input.rows; ++row) {
        for (int column = 0; column < input.cols; ++column) {
            auto const& pixel = input.at<cv::Vec3b>(row, column);
            labels.at<std::uint8_t>(row, column) =
                static_cast<std::uint8_t>(fake::label(pixel[0], pixel[1], pixel[2]));
        }
    }
    emca::detail::restore(labels, image.size(), result);
    return result;
}

void check_labels(fs::path const& golden) {
    for (char const* const name : {"good", "fixed", "later", "narrow", "large"}) {
        world = {};
        {
            Segmenter segmenter = load(name);
            CHECK(segmenter.classes().size() == 5 &&
                  segmenter.backend() == emca::Backend::tensorrt);
            for (int number = 0; number < test::kImages; ++number) {
                cv::Mat const image =
                    test::read(golden / ("image" + std::to_string(number) + ".png"));
                CHECK(test::equal(segmenter.labels(image, Channels::bgr), expected(image)));
            }
        }
        // Run and captured with the first image, replayed for all others.
        CHECK(world.enqueued == 2 && world.launches == test::kImages - 1);
        CHECK(world.live == 0);
        CHECK(world.profile == (std::string(name) == "narrow" || std::string(name) == "large"));
        CHECK(world.host_code == (std::string(name) == "later"));
    }
}

//! Without a graph, on the second GPU, from two threads.
void check_ways(fs::path const& golden) {
    cv::Mat const image = test::read(golden / "image0.png");
    for (char const* const name : {"good", "uncapturable"}) {
        world = {};
        world.can_capture = std::string(name) != "good";
        Segmenter segmenter = load(name, Options{emca::Backend::automatic, 0, 1, {}});
        for (int round = 0; round < 3; ++round) {
            std::thread([&] {
                CHECK(test::equal(segmenter.labels(image, Channels::bgr), expected(image)));
            }).join();
            CHECK(world.device == 1);
        }
        CHECK(world.launches == 0);
        int device = -1;
        cudaGetDevice(&device);
        CHECK(device == 0);
    }
    CHECK(world.live == 0);
}

void check_machine() {
    auto const refuse = [](char const* words, Options const& options = {}) {
        CHECK_ERROR(load("good", options), words);
        CHECK(world.live == 0);
        world = {};
    };
    world.driver = cudaErrorInsufficientDriver;
    refuse("the NVIDIA driver knows CUDA up to 13.0, which is too old");
    world.driver = cudaErrorInsufficientDriver;
    world.driver_version = 0;
    refuse("no NVIDIA driver is loaded; install it until nvidia-smi lists the GPU");
    world.driver = cudaErrorNoDevice;
    refuse("CUDA finds no GPU");
    world.driver = cudaErrorUnknown;
    refuse("CUDA failed: the list of GPUs (some CUDA error)");
    refuse("there is no GPU 2; give one of 0 to 1", Options{emca::Backend::automatic, 0, 2, {}});
    world.major = 8;
    refuse("was built for compute capability 7.5 (Tesla T4) and Tesla T4 has 8.5; build it again");
    for (int allocations = 0; allocations < 4; ++allocations) {
        world.allocations = allocations;
        refuse("too little GPU memory");
    }
    world.runtime_fails = true;
    CHECK_ERROR(load("good"), "the NVIDIA driver is too old for TensorRT 10.3.0");
    CHECK(world.live == 1);  // the runtime that must not be destroyed
    world = {};
}

void check_engines() {
    auto const refuse = [](char const* name, char const* words) {
        CHECK_ERROR(load(name), words);
        CHECK(world.live == 0);
    };
    refuse("none", "none.engine: no such engine; build it with python -m runtime.build");
    refuse("old", "needs TensorRT 10.1.0, which built it, and 10.3.0 is installed; build it again");
    refuse("newer", "needs TensorRT 10.4.0 or later, which built it");
    refuse("rtx", "is an engine for tensorrt-rtx and C++ runs those of tensorrt");
    refuse("ampere", "was built for GPUs of compute capability 8.0 or higher and Tesla T4 has 7.5");
    refuse("wide", "takes no batch of 1 at 48x64; build it again: python -m runtime.build ");
    refuse("scores", "was exported with --head scores");
    refuse("broken", "is damaged or no engine (Serialization assertion magicTag failed)");
    refuse("foreign", "does not run on this GPU (The engine was built for an incompatible device)");
    refuse("hungry", "too little GPU memory for ");
    refuse("floats", "has no `labels` of 3072 bytes; build it again here: python -m runtime.build");
    Segmenter failing = load("failing");
    CHECK_ERROR(failing.labels(cv::Mat(9, 9, CV_8UC3, cv::Scalar()), Channels::rgb),
                "cannot run it (enqueue: some layer failed)");
}

//! Python's commands, word for word.
void check_rebuild() {
    std::ifstream file(engines / "rebuild.txt");
    int lines = 0;
    for (std::string name, command; std::getline(file, name, '\t') && std::getline(file, command);
         ++lines) {
        CHECK(emca::detail::EngineFile::read(engines / (name + ".engine")).rebuild() == command);
    }
    CHECK(lines == 8);
}

void check_json() {
    auto const spoil = [](std::string const& from, std::string const& to) {
        fs::path const path = engines / "spoilt.engine";
        fs::copy_file(engines / "good.engine", path, fs::copy_options::overwrite_existing);
        std::string text = emca::detail::read_file(engines / "good.engine.json", "");
        CHECK(text.find(from) != std::string::npos);
        text.replace(text.find(from), from.size(), to);
        std::ofstream(path.string() + ".json") << text;
    };
    auto const refuse = [](char const* words) { CHECK_ERROR(load("spoilt"), words); };
    spoil("\"format_version\": \"1\"", "\"format_version\": \"2\"");
    refuse("has format 2 but this version reads 1");
    spoil("\"profiles\"", "\"prefixes\"");
    refuse("spoilt.engine.json is damaged (");
    for (char const* const version : {"", "x", "7"}) {
        spoil("10.3.0.26", version);
        refuse("spoilt.engine.json is damaged (version \"");
    }
    spoil("10.3.0.26", "99999999999999999999.3");
    refuse("needs TensorRT 99999999999999999999.3, which built it");
    for (char const* const shape :
         {"[1, 48, 64]", "[1, 48, 64, 3, 3]", "[0, 48, 64, 3]", "[1.5, 48, 64, 3]",
          "[4294967297, 48, 64, 3]", "[18446744073709551617, 48, 64, 3]", "3"}) {
        spoil("[1, 48, 64, 3]", shape);
        refuse("4 whole numbers from 1 to 1048576 belong); build the engine again");
    }
    for (char const* const other : {"null", "3", "[]", "\"PrototypeAttention\""}) {
        for (char const* const key : {"\"plugins\": ", "\"settings\": "}) {
            spoil(std::string(key) + "{}", key + std::string(other));
            refuse("spoilt.engine.json is damaged (");
        }
    }
    // A line break in a value stays within the line.
    spoil("\"format_version\": \"1\"", "\"format_version\": \"1\\n2\"");
    refuse("has format 1\\n2 but this version reads 1");
    spoil("\"backend\": \"tensorrt\"", "\"backend\": \"tensor\\rrt\"");
    refuse("is an engine for tensor\\rrt and");
    spoil("[\"7.5\"]", "[\"7\\n5\"]");
    refuse("was built for compute capability 7\\n5 (Tesla T4)");
    spoil("}", "");
    refuse("spoilt.engine.json is no JSON; build the engine again");
    spoil("}", "}");
    std::ofstream(engines / "spoilt.engine", std::ios::app) << 'x';
    refuse("is not the engine that spoilt.engine.json describes");
    fs::remove(engines / "spoilt.engine.json");
    refuse("spoilt.engine.json is missing; keep it beside its engine");
}

void check_plugins(fs::path const& library, fs::path const& folder) {
    fs::create_directories(folder);
    auto const refuse = [](fs::path const& named, char const* words) {
        CHECK_ERROR(load("plugin", Options{emca::Backend::automatic, 0, 0, named}), words);
        CHECK(world.live == 0);
        world = {};
    };
    world = {};
    unsetenv("EMCA_PLUGIN");
    setenv("LD_LIBRARY_PATH", "", 1);
    if (!fs::exists("/usr/local/lib/libemca_plugin.so") &&
        !fs::exists("/usr/lib/libemca_plugin.so")) {
        refuse({}, "libemca_plugin.so, the TensorRT plugin, is missing; build it with make plugin");
    }
    refuse(folder / "none.so", "none.so: no such plugin");
    std::ofstream(folder / "text.so") << "no library";
    refuse(folder / "text.so", "text.so cannot be loaded (");
    fs::copy_file(library, folder / "cut.so", fs::copy_options::overwrite_existing);
    fs::resize_file(folder / "cut.so", 3000);
    refuse(folder / "cut.so", "cut.so is incomplete");
    fs::copy_file(library, folder / "other.so", fs::copy_options::overwrite_existing);
    refuse(folder / "other.so", "other.so has no version 1 of PrototypeAttention");
    world.refuses_plugins = true;
    refuse(library, "was refused by TensorRT (loadLibrary: refused)");
    setenv("EMCA_PLUGIN", "/none", 1);
    refuse({}, "EMCA_PLUGIN=/none is no file");

    setenv("EMCA_PLUGIN", library.c_str(), 1);
    load("plugin");
    CHECK(world.loaded == library && !world.other_plugins);
    world.loaded.clear();
    load("plugin");  // it is there already
    CHECK(world.loaded.empty());
    unsetenv("EMCA_PLUGIN");
    world = {};
    setenv("LD_LIBRARY_PATH", ("/none::" + library.parent_path().string()).c_str(), 1);
    load("plugin");
    CHECK(world.loaded == library);
    load("others");
    CHECK(world.other_plugins);
}

}  // namespace

int main(int, char** words) {
    fs::path const golden = words[1];
    engines = golden / "engines";
    check_labels(golden);
    check_ways(golden);
    check_machine();
    check_engines();
    check_rebuild();
    check_json();
    check_plugins(words[2], golden / "plugins");
    return 0;
}
