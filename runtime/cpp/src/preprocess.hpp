// `fit` before the network and `restore` after it, to the same pixel as segdata/preprocess.py.
#pragma once

#include <opencv2/core/mat.hpp>

#include "emca/segmenter.hpp"

namespace emca::detail {

//! `source` scaled, aspect kept, to fill `size`.
cv::Size fitted(cv::Size source, cv::Size size);

//! Letterbox `image`, CV_8UC3, into `target`, CV_8UC3 in RGB: scaled bilinearly, padded below or to
//! the right with the colour of the mean.
void fit(cv::Mat const& image, Channels order, cv::Mat& target);

//! Undo `fit` on a label map, CV_8UC1: cut the padding, nearest label at `source`.
void restore(cv::Mat const& labels, cv::Size source, cv::Mat& result);

}  // namespace emca::detail
