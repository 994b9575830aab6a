// Frames of a video, camera or URL, past what is damaged: runtime/video_source.py.
#pragma once

#include <string>

#include <opencv2/core/mat.hpp>
#include <opencv2/videoio.hpp>

class Frames {
public:
    //! \throw emca::Error it cannot be opened
    explicit Frames(std::string const& source);

    //! The next whole frame; false at the end.
    bool read(cv::Mat& frame);
    //! Frames per second.
    double rate() const { return rate_; }
    //! Frames that could not be read, known when `read` was false; 0 of what has no end.
    int damaged() const { return damaged_; }

private:
    double left(double seconds) const;
    void note_whole();
    void settle();

    cv::VideoCapture video_;
    double rate_, count_;       // count: of the header; 0 where there is no end
    double due_ = 0;            // seconds at which the next frame should show
    int found_ = 0, lost_ = 0;  // lost: in vain since the last whole one
    int position_ = 0, damaged_ = 0;
    long gaps_ = 0;
};
