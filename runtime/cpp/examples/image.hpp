// Image files: read whole, written whole.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>

#include <opencv2/core/mat.hpp>

//! Whether the name is that of an image.
bool is_image(std::filesystem::path const& path);

//! BGR, upright.
//!
//! \throw emca::Error the file is missing, damaged or no image
cv::Mat read_image(std::filesystem::path const& path);

//! The same into `image`, whose memory is used again where the size fits.
void read_image(std::filesystem::path const& path, cv::Mat& image);

//! \throw emca::Error it cannot be written, or `stop` is set by then
void write_image(std::filesystem::path const& path, cv::Mat const& image,
                 std::atomic<bool> const& stop);

//! Calls `write` with a temporary name beside `path`, which becomes `path` when it returns and goes
//! when it throws.
//!
//! \throw emca::Error `path` is a folder or its folder cannot be made
void write_whole(std::filesystem::path const& path,
                 std::function<void(std::filesystem::path const&)> const& write);
