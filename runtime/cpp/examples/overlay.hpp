// Label maps as colours over the image, as segdata/draw.py paints them.
#pragma once

#include <vector>

#include <opencv2/core/mat.hpp>

#include "emca/segmenter.hpp"

//! Blend the class colours over a BGR image, with thin light borders between classes. Pixels
//! without a class keep the image.
cv::Mat overlay(cv::Mat const& image, cv::Mat const& labels,
                std::vector<emca::Colour> const& palette);
