#include "frames.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <system_error>

#include <opencv2/videoio/registry.hpp>

#include "emca/segmenter.hpp"
#include "source.hpp"

namespace fs = std::filesystem;

namespace {

constexpr double kUnknownRate = 25;  // of cameras that do not say
constexpr double kHighestRate = 240;
// As in runtime/media/reader.py.
constexpr double kSlack = 0.25;
constexpr int kPatience = 32;
// As in runtime/media/live.py.
constexpr int kTimeoutMs = 10'000;
constexpr int kAttempts = 3;

bool is_number(std::string const& text) {
    return !text.empty() && text.size() < 5 &&
           text.find_first_not_of("0123456789") == std::string::npos;
}

bool is_file(std::string const& source) {
    std::error_code code;
    return fs::is_regular_file(source, code);
}

cv::VideoCapture open(std::string const& source) {
    bool const is_path = !is_number(source) && !is_address(source);
    std::error_code code;
    if (is_path && !fs::exists(source, code)) {
        throw emca::Error(source + ": no such file; check the path");
    }
    int const ffmpeg = backend(cv::CAP_FFMPEG);
    cv::VideoCapture video;
    if (is_number(source)) {
        video.open(std::stoi(source), backend(cv::CAP_V4L2));
    } else if (source.rfind("/dev/", 0) == 0) {
        video.open(source, backend(cv::CAP_V4L2));
    } else if (is_address(source) && ffmpeg == cv::CAP_FFMPEG) {
        video.open(source, ffmpeg,
                   {cv::CAP_PROP_OPEN_TIMEOUT_MSEC, kTimeoutMs, cv::CAP_PROP_READ_TIMEOUT_MSEC,
                    kTimeoutMs});
    } else {  // whole paths, as FFmpeg takes 12:30.mp4 for an address
        video.open(is_path ? fs::absolute(source).string() : source, ffmpeg);
    }
    if (!video.isOpened()) {
        throw emca::Error(without_password(source) +
                          (is_file(source) ? ": not a readable image or video; replace it"
                                           : ": cannot be opened; check that it is there"));
    }
    return video;
}

}  // namespace

int backend(cv::VideoCaptureAPIs wanted) {
    return cv::videoio_registry::hasBackend(wanted) ? wanted : cv::CAP_ANY;
}

Frames::Frames(std::string const& source, std::atomic<bool> const& stop)
    : title_(without_password(source)), stop_(stop), video_(open(source)) {
    double const rate = video_.get(cv::CAP_PROP_FPS);
    double const count = video_.get(cv::CAP_PROP_FRAME_COUNT);
    rate_ = std::isfinite(rate) && rate > 0 && rate <= kHighestRate ? rate : kUnknownRate;
    count_ = std::isfinite(count) && count > 0 ? count : 0;
    live_ = count_ == 0 && !is_file(source);
}

bool Frames::read(cv::Mat& frame) {
    while (!stop_) {
        if (video_.read(frame)) {
            note_whole();
            return true;
        }
        // Of a stream, a damaged frame and the end of the connection look alike.
        if (live_ ? lost_ + 1 >= kAttempts : left(due_ + lost_ / rate_) < kSlack) {
            settle();
            break;
        }
        // Reading on passes most damage; after many frames in vain seek, in steps that double.
        int const step = lost_ < kPatience ? 1 : lost_;
        position_ += step;
        lost_ += step;
        if (step > 1) {
            video_.set(cv::CAP_PROP_POS_FRAMES, position_);
        }
    }
    return false;
}

void Frames::note_whole() {
    damaged_ += lost_;
    lost_ = 0;
    ++position_;
    ++found_;
    double const stamp = std::max(video_.get(cv::CAP_PROP_POS_MSEC), 0.0) / 1000;
    if (found_ > 1) {
        gaps_ += std::max(0L, std::lround((stamp - due_) * rate_));
    }
    due_ = stamp + 1 / rate_;
}

//! Count what the decoder passed over by itself. Neither the number of frames in the header nor
//! gaps in time alone prove damage.
void Frames::settle() {
    double const rest = left(due_);
    double const missing = gaps_ + (rest >= kSlack ? std::round(rest * rate_) : 0);
    damaged_ = std::max(damaged_, static_cast<int>(std::min(missing, count_ - found_)));
}

//! How much of the length in the header is left, in seconds.
double Frames::left(double seconds) const { return count_ > 0 ? count_ / rate_ - seconds : 0; }
