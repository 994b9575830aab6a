#include "emca/segmenter.hpp"

#include <algorithm>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include <opencv2/core.hpp>

#include "preprocess.hpp"
#include "runner.hpp"

namespace emca {
namespace {

std::string without_breaks(std::string const& text) {
    std::string line;
    for (char const letter : text) {
        line += letter == '\n' ? "\\n" : letter == '\r' ? "\\r" : std::string(1, letter);
    }
    return line;
}

}  // namespace

Error::Error(std::string const& line) : std::runtime_error(without_breaks(line)) {}

struct Segmenter::Impl {
    explicit Impl(detail::Loaded loaded)
        : backend(loaded.backend), runner(std::move(loaded.runner)) {}

    void label(cv::Mat const& image, Channels order, cv::Mat& result);

    Backend backend;
    std::unique_ptr<detail::Runner> runner;
    std::mutex in_use;
};

void Segmenter::Impl::label(cv::Mat const& image, Channels order, cv::Mat& result) {
    std::scoped_lock const lock(in_use);
    cv::Size const size = runner->card().input_size;
    cv::Mat input(size, CV_8UC3, runner->input());
    detail::fit(image, order, input);
    std::size_t const bytes = input.total() * input.elemSize();
    for (int copy = 1; copy < runner->batch(); ++copy) {
        std::copy_n(input.data, bytes, input.data + copy * bytes);
    }
    // The matrix is only read; its constructor knows no constant memory.
    cv::Mat const found(size, CV_8UC1, const_cast<std::uint8_t*>(runner->run()));
    detail::restore(found, image.size(), result);
}

Segmenter::Segmenter(std::filesystem::path const& model, Options const& options)
    : impl_(std::make_unique<Impl>(detail::load(model, options))) {}

Segmenter::~Segmenter() = default;
Segmenter::Segmenter(Segmenter&& other) noexcept = default;
Segmenter& Segmenter::operator=(Segmenter&& other) noexcept = default;

cv::Mat Segmenter::labels(cv::Mat const& image, Channels order) {
    cv::Mat result;
    labels(image, order, result);
    return result;
}

void Segmenter::labels(cv::Mat const& image, Channels order, cv::Mat& result) {
    Impl& own = impl();
    if (image.dims > 2) {
        throw Error("the image has " + std::to_string(image.dims) + " dimensions; give two");
    }
    if (image.empty() || image.type() != CV_8UC3) {
        throw Error(image.empty() ? "the image is empty; check that it was read"
                                  : "the image is " + cv::typeToString(image.type()) +
                                        "; give CV_8UC3, three bytes a pixel");
    }
    try {
        own.label(image, order, result);
    } catch (cv::Exception const& error) {
        if (error.code == cv::Error::StsNoMem) {
            throw std::bad_alloc();
        }
        throw Error("OpenCV cannot scale an image of " + std::to_string(image.cols) + "x" +
                    std::to_string(image.rows) + " (" + error.err + "); give another size");
    }
}

std::vector<std::string> const& Segmenter::classes() const { return impl().runner->card().classes; }
std::vector<Colour> const& Segmenter::palette() const { return impl().runner->card().palette; }
cv::Size Segmenter::input_size() const { return impl().runner->card().input_size; }
Backend Segmenter::backend() const { return impl().backend; }

Segmenter::Impl& Segmenter::impl() const {
    if (!impl_) {
        throw Error("this Segmenter was moved from; use the one it was moved to");
    }
    return *impl_;
}

}  // namespace emca
