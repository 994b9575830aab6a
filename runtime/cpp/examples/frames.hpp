// Frames of a video, camera or URL, past what is damaged: runtime/media/reader.py.
#pragma once

#include <atomic>
#include <string>

#include <opencv2/core/mat.hpp>
#include <opencv2/videoio.hpp>

//! The backend of OpenCV to read or write with, where it has it: others are tried in turn, at
//! length, and may hang at damage.
int backend(cv::VideoCaptureAPIs wanted);

class Frames {
public:
    //! \param stop ends `read` early
    //! \throw emca::Error it cannot be opened
    Frames(std::string const& source, std::atomic<bool> const& stop);

    //! The next whole frame; false at the end.
    bool read(cv::Mat& frame);
    //! The source for messages, without a password.
    std::string const& title() const { return title_; }
    //! Whether it has no end known, as cameras and streams.
    bool is_live() const { return live_; }
    //! Frames per second.
    double rate() const { return rate_; }
    //! Frames that could not be read, known when `read` was false.
    int damaged() const { return damaged_; }

private:
    double left(double seconds) const;
    void note_whole();
    void settle();

    std::string title_;
    std::atomic<bool> const& stop_;
    cv::VideoCapture video_;
    double rate_, count_;       // count: of the header; 0 where it states none
    bool live_;
    double due_ = 0;            // seconds at which the next frame should show
    int found_ = 0, lost_ = 0;  // lost: in vain since the last whole one
    int position_ = 0, damaged_ = 0;
    long gaps_ = 0;
};
