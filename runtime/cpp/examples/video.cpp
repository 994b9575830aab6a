#include "video.hpp"

#include <exception>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include <opencv2/core.hpp>
#include <opencv2/videoio.hpp>

#include "frames.hpp"
#include "image.hpp"
#include "overlay.hpp"
#include "pipeline.hpp"

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kQueue = 4;  // frames between two stages

struct Labelled {
    cv::Mat image, labels;
};

//! Whether the source ends by itself.
bool is_file(std::string const& source) {
    std::error_code code;
    return fs::is_regular_file(source, code);
}

//! With an even number of rows and columns, which encoders want; OpenCV would cut one off.
cv::Mat even(cv::Mat const& image) {
    cv::Mat result;
    cv::copyMakeBorder(image, result, 0, image.rows % 2, 0, image.cols % 2, cv::BORDER_REPLICATE);
    return result;
}

//! How many frames a finished video has: OpenCV does not say that a disk was full.
int frames_in(fs::path const& path) {
    cv::VideoCapture const written(path.string());
    return written.isOpened() ? static_cast<int>(written.get(cv::CAP_PROP_FRAME_COUNT)) : 0;
}

//! Run a stage in its own thread; what it throws is kept, and its queues are closed at its end.
class Stage {
public:
    Stage(std::function<void()> work, std::function<void()> close)
        : thread_([this, work = std::move(work), close = std::move(close)] {
              try {
                  work();
              } catch (...) {
                  error_ = std::current_exception();
              }
              close();
          }) {}
    ~Stage() { join(); }
    Stage(Stage const&) = delete;
    Stage& operator=(Stage const&) = delete;

    void join() {
        if (thread_.joinable()) {
            thread_.join();
        }
    }
    void rethrow() const {
        if (error_) {
            std::rethrow_exception(error_);
        }
    }

private:
    std::exception_ptr error_;
    std::thread thread_;
};

class Pipeline {
public:
    Pipeline(emca::Segmenter& segmenter, Frames& video, std::atomic<bool> const& stop)
        : segmenter_(segmenter), video_(video), stop_(stop) {}

    //! The number of frames that were handed to the encoder.
    int run(fs::path const& path) {
        auto const close = [this] {
            decoded_.close();
            labelled_.close();
        };
        Stage decoder([this] { decode(); }, [this] { decoded_.close(); });
        Stage labeller([this] { label(); }, close);
        Stage encoder([this, &path] { encode(path); }, close);
        for (Stage* const stage : {&decoder, &labeller, &encoder}) {
            stage->join();
        }
        for (Stage* const stage : {&decoder, &labeller, &encoder}) {
            stage->rethrow();
        }
        return frames_;
    }

private:
    void decode() {
        for (cv::Mat frame; !stop_ && video_.read(frame); frame = cv::Mat()) {
            if (!decoded_.push(std::move(frame))) {
                return;
            }
        }
    }

    void label() {
        while (auto frame = decoded_.pop()) {
            cv::Mat labels = segmenter_.labels(*frame, emca::Channels::bgr);
            if (!labelled_.push({std::move(*frame), std::move(labels)})) {
                return;
            }
        }
    }

    void encode(fs::path const& path) {
        cv::VideoWriter writer;
        while (auto const frame = labelled_.pop()) {
            cv::Mat const painted =
                even(overlay(frame->image, frame->labels, segmenter_.palette()));
            if (!writer.isOpened() &&
                !writer.open(path.string(), cv::VideoWriter::fourcc('m', 'p', '4', 'v'),
                             video_.rate(), painted.size())) {
                throw emca::Error(
                    "no video can be written there; name an .mp4 in a folder that "
                    "can be written to");
            }
            writer.write(painted);
            ++frames_;
        }
    }

    emca::Segmenter& segmenter_;
    Frames& video_;
    std::atomic<bool> const& stop_;
    Queue<cv::Mat> decoded_{kQueue};
    Queue<Labelled> labelled_{kQueue};
    int frames_ = 0;
};

}  // namespace

Counts segment_video(emca::Segmenter& segmenter, std::string const& source, fs::path const& out,
                     std::atomic<bool> const& stop) {
    if (out.extension() != ".mp4") {
        throw emca::Error(out.string() + ": overlays of a video are an .mp4; name it so");
    }
    Frames video(source);
    int frames = 0;
    write_whole(out, [&](fs::path const& temporary) {
        frames = Pipeline(segmenter, video, stop).run(temporary);
        if (stop && is_file(source)) {
            throw emca::Error("interrupted; " + out.string() + " is not written");
        }
        if (frames == 0) {
            throw emca::Error(source + " holds no frame; replace it");
        }
        if (frames_in(temporary) != frames) {
            throw emca::Error(out.string() + ": " + std::to_string(frames_in(temporary)) + " of " +
                              std::to_string(frames) + " frames were written; check the disk");
        }
    });
    return {frames, video.damaged()};
}
