// Files that golden.py wrote.
#pragma once

#include <filesystem>
#include <string>

#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>

#include "check.hpp"

namespace test {

inline constexpr int kImages = 7;  // IMAGES of golden.py

//! BGR, or one channel for label maps.
inline cv::Mat read(std::filesystem::path const& path) {
    cv::Mat const image = cv::imread(path.string(), cv::IMREAD_UNCHANGED);
    if (image.empty()) {
        std::fprintf(stderr, "%s cannot be read\n", path.c_str());
        std::exit(1);
    }
    return image;
}

inline bool equal(cv::Mat const& a, cv::Mat const& b) {
    return a.size() == b.size() && a.type() == b.type() && cv::norm(a, b, cv::NORM_INF) == 0;
}

inline cv::Mat swapped(cv::Mat const& image) {
    cv::Mat result(image.size(), image.type());
    cv::mixChannels(image, result, {0, 2, 1, 1, 2, 0});
    return result;
}

}  // namespace test
