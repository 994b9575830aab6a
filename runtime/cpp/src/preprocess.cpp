#include "preprocess.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include <opencv2/imgproc.hpp>

namespace emca::detail {
namespace {

// PADDING of segdata/preprocess.py, RGB.
cv::Scalar const kPadding{124, 116, 104};

//! a * b / c to the nearest integer, halves up, 1 at least.
int scaled(std::int64_t a, std::int64_t b, std::int64_t c) {
    return static_cast<int>(std::max<std::int64_t>(1, (2 * a * b + c) / (2 * c)));
}

void swap_red_and_blue(cv::Mat& image) {
    for (int row = 0; row < image.rows; ++row) {
        auto* const pixels = image.ptr<cv::Vec3b>(row);
        for (int column = 0; column < image.cols; ++column) {
            std::swap(pixels[column][0], pixels[column][2]);
        }
    }
}

//! For each of `to` places along an axis the nearest of `from`, by their centres; halves go up.
//!
//! In integers and not by OpenCV, whose versions 4 and 5 decide halves differently.
std::vector<int> nearest(std::int64_t from, std::int64_t to) {
    std::vector<int> result(static_cast<std::size_t>(to));
    for (std::int64_t place = 0; place < to; ++place) {
        result[place] = static_cast<int>((2 * place + 1) * from / (2 * to));
    }
    return result;
}

}  // namespace

cv::Size fitted(cv::Size source, cv::Size size) {
    bool const full_height =
        std::int64_t{size.height} * source.width <= std::int64_t{size.width} * source.height;
    if (full_height) {
        return {scaled(source.width, size.height, source.height), size.height};
    }
    return {size.width, scaled(source.height, size.width, source.width)};
}

void fit(cv::Mat const& image, Channels order, cv::Mat& target) {
    cv::Size const size = fitted(image.size(), target.size());
    cv::Mat filled = target(cv::Rect({0, 0}, size));
    // Channels are scaled each on its own, so they are swapped where there are fewer pixels.
    cv::resize(image, filled, size, 0, 0, cv::INTER_LINEAR);
    if (order == Channels::bgr) {
        swap_red_and_blue(filled);
    }
    target.colRange(size.width, target.cols).setTo(kPadding);
    target.rowRange(size.height, target.rows).setTo(kPadding);
}

void restore(cv::Mat const& labels, cv::Size source, cv::Mat& result) {
    if (labels.size() == source) {
        labels.copyTo(result);
        return;
    }
    cv::Size const size = fitted(source, labels.size());
    auto const rows = nearest(size.height, source.height);
    auto const columns = nearest(size.width, source.width);
    result.create(source, CV_8UC1);
    for (int row = 0; row < source.height; ++row) {
        std::uint8_t* const target = result.ptr(row);
        if (row > 0 && rows[row] == rows[row - 1]) {
            std::copy_n(result.ptr(row - 1), source.width, target);
            continue;
        }
        std::uint8_t const* const from = labels.ptr(rows[row]);
        for (int column = 0; column < source.width; ++column) {
            target[column] = from[columns[column]];
        }
    }
}

}  // namespace emca::detail
