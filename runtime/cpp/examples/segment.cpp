// emca-segment MODEL SOURCE -o OUT: coloured overlays of an image, a video or a camera.
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include <opencv2/core/utils/logger.hpp>

#include "arguments.hpp"
#include "image.hpp"
#include "overlay.hpp"
#include "program.hpp"
#include "source.hpp"
#include "video.hpp"

namespace fs = std::filesystem;

namespace {

constexpr int kSignalled = 128;  // and the number of the signal, as shells count

std::atomic<bool> stop{false};  // set by signals, which know no other place
std::atomic<int> stopped_by{0};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

//! Errors are told in one line of ours, unless OpenCV's own variables ask for its words.
void silence_opencv() {
    setenv("OPENCV_FFMPEG_LOGLEVEL", "-8", 0);
    if (std::getenv("OPENCV_LOG_LEVEL") == nullptr) {
        cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
    }
}

//! The first signal ends the work in order, the second ends the program. What is ignored, as by
//! nohup, stays so.
void stop_on(int signal) {
    auto const before = std::signal(signal, [](int number) {
        stopped_by = number;
        stop = true;
        std::signal(number, SIG_DFL);
    });
    if (before == SIG_IGN) {
        std::signal(signal, SIG_IGN);
    }
}

void segment_image(emca::Segmenter& segmenter, Arguments const& arguments) {
    cv::Mat const image = read_image(arguments.source);
    cv::Mat const labels = segmenter.labels(image, emca::Channels::bgr);
    write_image(arguments.out,
                arguments.labels ? labels : overlay(image, labels, segmenter.palette()), stop);
}

void segment(Arguments const& arguments) {
    bool const image = !is_address(arguments.source) && is_image(arguments.source);
    if (arguments.labels && !(image && arguments.out.extension() == ".png")) {
        throw emca::Error(
            "--labels writes the label map of an image; give an image and -o NAME.png");
    }
    for (fs::path const& read : {fs::path(arguments.source), arguments.model}) {
        std::error_code code;
        if (fs::equivalent(read, arguments.out, code)) {
            throw emca::Error(arguments.out.string() + " is what is read; give another -o");
        }
    }
    emca::Segmenter segmenter(arguments.model, arguments.options);
    for (int const signal : {SIGINT, SIGTERM, SIGHUP}) {
        stop_on(signal);
    }
    if (image) {
        segment_image(segmenter, arguments);
        std::printf("%s\n", arguments.out.c_str());
    } else {
        segment_video(segmenter, arguments.source, arguments.out, stop);
    }
}

}  // namespace

int main(int count, char** words) {
    silence_opencv();
    int const code = run_program([count, words] {
        Arguments const arguments = parse(count, words);
        if (arguments.help) {
            std::fputs(kUsage, stdout);
        } else {
            segment(arguments);
        }
    });
    return code != 0 && stop ? kSignalled + stopped_by : code;
}
