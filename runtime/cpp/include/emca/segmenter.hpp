// Labels images with a model of this project: on a CPU through OpenVINO, on an NVIDIA GPU through
// TensorRT. The labels are those of `runtime.Segmenter` in Python, bit for bit.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <opencv2/core/mat.hpp>

#define EMCA_API __attribute__((visibility("default")))

namespace emca {

//! What went wrong and what to do, in one line.
class EMCA_API Error : public std::runtime_error {
public:
    //! Line breaks, which values of damaged files may hold, become \n and \r.
    explicit Error(std::string const& line);
};

//! The order of an image's channels; OpenCV reads images and videos as BGR.
enum class Channels { rgb, bgr };

enum class Backend {
    automatic,  //!< by the suffix of the file
    openvino,   //!< NAME.xml with NAME.bin, written by `python -m runtime.to_openvino`
    tensorrt,   //!< NAME.engine with NAME.engine.json, written by `python -m runtime.build`
};

struct Options {
    Backend backend = Backend::automatic;
    int threads = 0;  //!< of OpenVINO; 0 for every core
    int device = 0;   //!< of TensorRT: the GPU's number in CUDA's list
    //! libemca_plugin.so, for engines that need it. Empty: what the environment variable
    //! EMCA_PLUGIN names, else the first of: beside this library, the folders of LD_LIBRARY_PATH,
    //! /usr/local/lib, /usr/lib.
    std::filesystem::path plugin;
};

struct Colour {
    std::uint8_t red, green, blue;
};

//! A model that is ready to label images of any size.
//!
//! Two of them do not disturb each other. Threads may share one: its calls wait for each other, so
//! for work in parallel give each thread its own. One that was moved from can only be assigned to
//! or destroyed; every other call throws Error.
class EMCA_API Segmenter {
public:
    //! Load a model file; takes seconds where a GPU or many weights are involved.
    //!
    //! \throw Error no such file, a damaged one, one of another kind, version or GPU, a backend
    //! that this library was built without, a plugin that is missing, too little memory.
    explicit Segmenter(std::filesystem::path const& model, Options const& options = {});
    ~Segmenter();
    Segmenter(Segmenter&& other) noexcept;
    Segmenter& operator=(Segmenter&& other) noexcept;

    //! Label an image.
    //!
    //! \param image CV_8UC3 of any size; `cv::Mat(height, width, CV_8UC3, pixels, stride)` wraps
    //! memory of yours without a copy
    //! \return CV_8UC1 of the same size: the index of each pixel's class
    //! \throw Error the image is empty or of another type, or the run failed
    //! \throw std::bad_alloc memory is short
    cv::Mat labels(cv::Mat const& image, Channels order);

    //! The same into `result`, whose memory is used again where size and type fit.
    void labels(cv::Mat const& image, Channels order, cv::Mat& result);

    //! Names of the classes; the index is the label.
    std::vector<std::string> const& classes() const;
    //! A colour for each class.
    std::vector<Colour> const& palette() const;
    //! Size that images are scaled to, aspect kept, before the network sees them.
    cv::Size input_size() const;
    //! openvino or tensorrt.
    Backend backend() const;

private:
    struct Impl;
    Impl& impl() const;
    std::unique_ptr<Impl> impl_;
};

}  // namespace emca
