#include "overlay.hpp"

#include <array>

#include <opencv2/core.hpp>

namespace {

constexpr double kAlpha = 0.55;  // weight of the colours

bool is_border(cv::Mat const& labels, int row, int column) {
    auto const label = labels.at<std::uint8_t>(row, column);
    return (column > 0 && label != labels.at<std::uint8_t>(row, column - 1)) ||
           (row > 0 && label != labels.at<std::uint8_t>(row - 1, column));
}

}  // namespace

cv::Mat overlay(cv::Mat const& image, cv::Mat const& labels,
                std::vector<emca::Colour> const& palette) {
    std::array<cv::Vec3b, 256> colours{};
    for (std::size_t label = 0; label < palette.size() && label < colours.size(); ++label) {
        colours[label] = {palette[label].blue, palette[label].green, palette[label].red};
    }
    cv::Mat result(image.size(), CV_8UC3);
    for (int row = 0; row < image.rows; ++row) {
        for (int column = 0; column < image.cols; ++column) {
            result.at<cv::Vec3b>(row, column) = colours[labels.at<std::uint8_t>(row, column)];
        }
    }
    cv::addWeighted(result, kAlpha, image, 1 - kAlpha, 0, result);
    for (int row = 0; row < image.rows; ++row) {
        for (int column = 0; column < image.cols; ++column) {
            auto& pixel = result.at<cv::Vec3b>(row, column);
            if (labels.at<std::uint8_t>(row, column) >= palette.size()) {
                pixel = image.at<cv::Vec3b>(row, column);
            }
            if (is_border(labels, row, column)) {
                for (int channel = 0; channel < 3; ++channel) {
                    pixel[channel] = static_cast<std::uint8_t>((pixel[channel] + 255) / 2);
                }
            }
        }
    }
    return result;
}
