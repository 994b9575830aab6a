// Segmenter on OpenVINO: the labels of Python, refusals, lifetimes and threads.
#include <array>
#include <csignal>
#include <fstream>
#include <memory>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

#include "files.hpp"
#include "golden_images.hpp"

using emca::Channels;
using emca::Options;
using emca::Segmenter;
namespace fs = std::filesystem;

namespace {

struct Golden {
    cv::Mat image, labels;  //!< BGR
};

std::vector<Golden> read_golden(fs::path const& folder) {
    std::vector<Golden> result;
    for (int number = 0; number < test::kImages; ++number) {
        fs::path const stem = folder / ("image" + std::to_string(number));
        result.push_back(
            {test::read(stem.string() + ".png"), test::read(stem.string() + ".labels.png")});
    }
    return result;
}

void check_labels(fs::path const& model, std::vector<Golden> const& golden) {
    Segmenter segmenter(model);
    for (auto const& [image, labels] : golden) {
        CHECK(test::equal(segmenter.labels(image, Channels::bgr), labels));
        CHECK(test::equal(segmenter.labels(test::swapped(image), Channels::rgb), labels));
    }
    auto const& [image, labels] = golden.front();
    CHECK(!test::equal(segmenter.labels(image, Channels::rgb), labels));
    cv::Mat result(image.size(), CV_8UC1);
    auto const* const memory = result.data;
    segmenter.labels(image, Channels::bgr, result);
    CHECK(result.data == memory && test::equal(result, labels));
}

void check_card(fs::path const& model) {
    Segmenter const segmenter(model);
    std::vector<std::string> const classes{"sky", "road", "größe", "tree", "pole"};
    CHECK(segmenter.classes() == classes);
    CHECK(segmenter.palette().size() == classes.size());
    CHECK(segmenter.input_size() == cv::Size(64, 48));
    CHECK(segmenter.backend() == emca::Backend::openvino);
}

void check_bad_images(fs::path const& model) {
    Segmenter segmenter(model);
    auto const label = [&segmenter](cv::Mat const& image) {
        segmenter.labels(image, Channels::rgb);
    };
    CHECK_ERROR(label(cv::Mat()), "the image is empty");
    CHECK_ERROR(label(cv::Mat(4, 4, CV_8UC1)), "the image is CV_8UC1; give CV_8UC3");
    CHECK_ERROR(label(cv::Mat(4, 4, CV_8UC4)), "CV_8UC4");
    CHECK_ERROR(label(cv::Mat(4, 4, CV_32FC3)), "CV_32FC3");
    CHECK_ERROR(label(cv::Mat({2, 4, 4}, CV_8UC3)), "the image has 3 dimensions; give two");
    CHECK(segmenter.labels(cv::Mat(4, 4, CV_8UC3, cv::Scalar()), Channels::rgb).rows == 4);
}

//! A copy of one.xml and one.bin in a folder of their own, to be spoilt.
class Copy {
public:
    Copy(fs::path const& golden, std::string const& name) : folder_(golden / "spoilt" / name) {
        fs::remove_all(folder_);
        fs::create_directories(folder_);
        fs::copy(golden / "one.xml", xml());
        fs::copy(golden / "one.bin", bin());
    }
    fs::path xml() const { return folder_ / "one.xml"; }
    fs::path bin() const { return folder_ / "one.bin"; }

    Copy const& replace(std::string const& from, std::string const& to) const {
        std::string text = emca::detail::read_file(xml(), "");
        auto const at = text.find(from);
        CHECK(at != std::string::npos);
        text.replace(at, from.size(), to);
        std::ofstream(xml(), std::ios::binary) << text;
        return *this;
    }
    Copy const& cut(fs::path const& path, std::uintmax_t to) const {
        fs::resize_file(path, to);
        return *this;
    }

private:
    fs::path folder_;
};

void check_bad_files(fs::path const& golden) {
    auto const load = [](fs::path const& model) { Segmenter{model}; };
    Copy const shorter(golden, "shorter"), lighter(golden, "lighter"), other(golden, "other"),
        alone(golden, "alone"), newer(golden, "newer"), strange(golden, "strange"),
        bare(golden, "bare"), later(golden, "later"), open(golden, "open"), text(golden, "text");
    shorter.cut(shorter.xml(), fs::file_size(shorter.xml()) / 2);
    lighter.cut(lighter.bin(), fs::file_size(lighter.bin()) - 4);
    std::fstream(other.bin(), std::ios::in | std::ios::out | std::ios::binary) << 'x';
    fs::remove(alone.bin());
    newer.replace("<format_version value=\"1\"", "<format_version value=\"2\"");
    strange.replace("type=\"Convolution\"", "type=\"Konvolution\"");
    bare.replace("<card value=", "<cart value=");
    later.replace("version=\"11\"", "version=\"99\"");
    open.replace("?>", ">");
    text.replace("<net ", "<not ");

    CHECK_ERROR(load(golden / "none.xml"), "none.xml: No such file or directory; check the path");
    CHECK_ERROR(load(golden / "one.onnx"), "convert it first: python -m runtime.to_openvino");
    CHECK_ERROR(load(golden / "one.bin"), "is no model for C++");
    CHECK_ERROR(load(golden), "is no model for C++");
    CHECK_ERROR(load(golden / "scores.xml"), "exported with --head scores");
    CHECK_ERROR(load(shorter.xml()), "is incomplete or was not written by runtime.to_openvino");
    CHECK_ERROR(load(lighter.xml()), "one.bin does not belong to one.xml");
    CHECK_ERROR(load(other.xml()), "one.bin does not belong to one.xml");
    CHECK_ERROR(load(alone.xml()), "one.bin: No such file or directory; keep it beside one.xml");
    CHECK_ERROR(load(newer.xml()), "has metadata format 2 but this version reads 1");
    CHECK_ERROR(load(strange.xml()), "is damaged (");
    CHECK_ERROR(load(bare.xml()), ": card is missing; convert it again");
    for (Copy const* const copy : {&later, &open, &text}) {
        CHECK_ERROR(load(copy->xml()), "is damaged (not the first lines of a graph); convert it");
    }
}

//! An image whose labels are more than there is memory for.
void check_memory(fs::path const& model) {
#ifndef __SANITIZE_ADDRESS__  // which ends the process instead
    Segmenter segmenter(model);
    cv::Mat const image(12'000, 12'000, CV_8UC3, cv::Scalar());
    rlimit before{};
    getrlimit(RLIMIT_AS, &before);
    std::ifstream status("/proc/self/statm");
    rlim_t pages = 0;
    status >> pages;
    rlimit const tight{pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + (64 << 20),
                       before.rlim_max};
    setrlimit(RLIMIT_AS, &tight);
    bool short_of_memory = false;
    try {
        segmenter.labels(image, Channels::rgb);
    } catch (std::bad_alloc const&) {
        short_of_memory = true;
    }
    setrlimit(RLIMIT_AS, &before);
    CHECK(short_of_memory);
    CHECK(segmenter.labels(cv::Mat(4, 4, CV_8UC3, cv::Scalar()), Channels::rgb).rows == 4);
#else
    static_cast<void>(model);
#endif
}

void check_options(fs::path const& golden) {
    auto const load = [&golden](emca::Backend backend, int threads, char const* file) {
        Segmenter{golden / file, Options{backend, threads, 0, {}}};
    };
    load(emca::Backend::openvino, 1, "one.xml");
    CHECK_ERROR(load(emca::Backend::tensorrt, 0, "one.xml"), "is a file for openvino");
    CHECK_ERROR(load(emca::Backend::openvino, 0, "one.engine"), "is a file for tensorrt");
    CHECK_ERROR(load(emca::Backend::automatic, -1, "one.xml"), "-1 threads are too few");
#ifndef EMCA_WITH_TENSORRT
    CHECK_ERROR(load(emca::Backend::automatic, 0, "one.engine"), "needs TensorRT");
#endif
}

void check_lifetimes(fs::path const& model, Golden const& golden) {
    Segmenter first(model);
    Segmenter second(std::move(first));
    CHECK(test::equal(second.labels(golden.image, Channels::bgr), golden.labels));
    CHECK_ERROR(first.labels(golden.image, Channels::bgr), "was moved from");
    CHECK_ERROR(first.classes(), "was moved from");
    first = std::move(second);
    CHECK(test::equal(first.labels(golden.image, Channels::bgr), golden.labels));
    cv::Mat kept;
    {
        Segmenter gone(model);
        kept = gone.labels(golden.image, Channels::bgr);
    }
    CHECK(test::equal(kept, golden.labels));  // what was returned outlives the Segmenter
}

//! Several Segmenters, each used by two threads at a time.
void check_threads(fs::path const& model, std::vector<Golden> const& golden) {
    std::vector<Segmenter> segmenters;
    for (int i = 0; i < 2; ++i) {
        segmenters.emplace_back(model, Options{emca::Backend::automatic, 1, 0, {}});
    }
    std::array<int, 4> right{};
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < right.size(); ++i) {
        threads.emplace_back([&segmenters, &golden, &right, i] {
            for (int round = 0; round < 5; ++round) {
                for (auto const& [image, labels] : golden) {
                    cv::Mat const found = segmenters[i / 2].labels(image, Channels::bgr);
                    right[i] += static_cast<int>(test::equal(found, labels));
                }
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    for (int const count : right) {
        CHECK(count == 5 * test::kImages);
    }
}

volatile std::sig_atomic_t caught = 0;

//! Segmenters that go in the order they came, or in another thread, leave signal handlers a stack.
void check_signals(fs::path const& model) {
    struct sigaction action {};
    action.sa_handler = [](int) { caught = 1; };
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGUSR1, &action, nullptr);
    auto first = std::make_unique<Segmenter>(model);
    auto second = std::make_unique<Segmenter>(model);
    first.reset();
    second.reset();
    raise(SIGUSR1);
    CHECK(caught == 1);
    caught = 0;
    auto elsewhere = std::make_unique<Segmenter>(model);
    std::thread([&elsewhere] { elsewhere.reset(); }).join();
    raise(SIGUSR1);
    CHECK(caught == 1);
}

}  // namespace

int main(int, char** words) {
    fs::path const golden = words[1];
    auto const images = read_golden(golden);
    for (char const* const model : {"one.xml", "two.xml", "any.xml"}) {
        check_labels(golden / model, images);
    }
    check_card(golden / "one.xml");
    check_bad_images(golden / "one.xml");
    check_bad_files(golden);
    check_memory(golden / "one.xml");
    check_options(golden);
    check_lifetimes(golden / "one.xml", images.front());
    check_threads(golden / "one.xml", images);
    check_signals(golden / "one.xml");
    return 0;
}
