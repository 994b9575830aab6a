#include "video.hpp"

#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <system_error>
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
// As in runtime/media/writer.py: a video without its end cannot be played.
constexpr std::uintmax_t kReserve = 32 << 20;

struct Labelled {
    cv::Mat image, labels;
};

//! With an even number of rows and columns, which encoders want; OpenCV would cut one off.
cv::Mat even(cv::Mat const& image) {
    cv::Mat result;
    cv::copyMakeBorder(image, result, 0, image.rows % 2, 0, image.cols % 2, cv::BORDER_REPLICATE);
    return result;
}

//! How many frames a finished video has: OpenCV does not say that a disk was full.
int frames_in(fs::path const& path) {
    cv::VideoCapture const written(path.string(), backend(cv::CAP_FFMPEG));
    return written.isOpened() ? static_cast<int>(written.get(cv::CAP_PROP_FRAME_COUNT)) : 0;
}

void check_space(fs::path const& folder) {
    std::error_code code;
    auto const free = fs::space(folder, code).available;
    if (!code && free < kReserve) {
        throw emca::Error(folder.string() + ": the disk is full (" + std::to_string(free >> 20) +
                          " MB left of the " + std::to_string(kReserve >> 20) +
                          " MB that finishing takes); make room or give another folder");
    }
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
    std::exception_ptr const& error() const { return error_; }

private:
    std::exception_ptr error_;
    std::thread thread_;
};

class Pipeline {
public:
    Pipeline(emca::Segmenter& segmenter, Frames& video) : segmenter_(segmenter), video_(video) {}

    //! Writes the video; what stopped it before the end of the source, or nothing.
    std::exception_ptr run(fs::path const& path) {
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
            if (stage->error()) {
                return stage->error();
            }
        }
        return nullptr;
    }

    //! The number of frames that were handed to the encoder.
    int frames() const { return frames_; }

private:
    void decode() {
        for (cv::Mat frame; video_.read(frame); frame = cv::Mat()) {
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
            check_space(path.parent_path());
            cv::Mat const painted =
                even(overlay(frame->image, frame->labels, segmenter_.palette()));
            if (!writer.isOpened() &&
                !writer.open(path.string(), backend(cv::CAP_FFMPEG),
                             cv::VideoWriter::fourcc('m', 'p', '4', 'v'), video_.rate(),
                             painted.size())) {
                throw emca::Error(path.parent_path().string() +
                                  ": no video can be written there; check the folder");
            }
            writer.write(painted);
            ++frames_;
        }
    }

    emca::Segmenter& segmenter_;
    Frames& video_;
    Queue<cv::Mat> decoded_{kQueue};
    Queue<Labelled> labelled_{kQueue};
    int frames_ = 0;
};

//! \throw emca::Error not all frames are in the file
void check_whole(fs::path const& path, int frames, fs::path const& out) {
    int const written = frames_in(path);
    if (written != frames) {
        throw emca::Error(out.string() + ": " + std::to_string(written) + " of " +
                          std::to_string(frames) + " frames were written; check the disk");
    }
}

}  // namespace

void segment_video(emca::Segmenter& segmenter, std::string const& source, fs::path const& out,
                   std::atomic<bool> const& stop) {
    if (out.extension() != ".mp4") {
        throw emca::Error(out.string() + ": overlays of a video are an .mp4; name it so");
    }
    Frames video(source, stop);
    int frames = 0;
    std::exception_ptr failure;
    write_whole(out, [&](fs::path const& name) {
        fs::path const path = fs::absolute(name);  // FFmpeg takes 12:30.mp4 for an address
        Pipeline pipeline(segmenter, video);
        failure = pipeline.run(path);
        frames = pipeline.frames();
        if (failure && (frames == 0 || !video.is_live())) {
            std::rethrow_exception(failure);
        }
        if (stop && !video.is_live()) {
            throw emca::Error("interrupted; " + out.string() + " is not written");
        }
        if (frames == 0) {
            throw emca::Error(video.title() + (video.is_live() ? ": no frame came; check it"
                                                               : " holds no frame; replace it"));
        }
        check_whole(path, frames, out);
    });
    std::printf("%s: %d frame%s\n", out.c_str(), frames, frames == 1 ? "" : "s");
    if (failure) {
        std::rethrow_exception(failure);
    }
    if (video.is_live() && !stop) {
        throw emca::Error(video.title() + ": the source was lost; " + out.string() +
                          " holds what came before");
    }
    if (video.damaged() > 0 && !stop) {
        throw emca::Error(video.title() + ": " + std::to_string(video.damaged()) +
                          " frames are damaged or missing");
    }
}
