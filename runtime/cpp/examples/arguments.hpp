// The command line of emca-segment.
#pragma once

#include <filesystem>
#include <string>

#include "emca/segmenter.hpp"

struct Arguments {
    std::filesystem::path model;
    std::string source;  //!< an image, a video, a camera's number or device, or a URL
    std::filesystem::path out;
    bool labels = false;  //!< write the label map instead of the overlay
    emca::Options options;
    bool help = false;
};

extern char const* const kUsage;

//! \throw emca::Error the command line is wrong
Arguments parse(int count, char** words);
