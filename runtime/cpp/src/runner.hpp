// What the backends share: a loaded model between its input and its labels.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "card.hpp"
#include "emca/segmenter.hpp"

namespace emca::detail {

//! A model that runs one batch of fitted images at a time.
class Runner {
public:
    virtual ~Runner() = default;

    virtual Card const& card() const = 0;
    //! The fewest images that the model takes at once.
    virtual int batch() const = 0;
    //! Where the next batch goes: RGB [batch(),H,W,3].
    virtual std::uint8_t* input() = 0;
    //! Run it.
    //!
    //! \return labels [batch(),H,W], valid until the next run
    //! \throw Error the run failed
    virtual std::uint8_t const* run() = 0;
};

// \throw Error as the constructor of Segmenter
std::unique_ptr<Runner> load_openvino(std::filesystem::path const& model, Options const& options);
std::unique_ptr<Runner> load_tensorrt(std::filesystem::path const& model, Options const& options);

//! The runner of a model file by the options and its suffix, and which backend that is.
struct Loaded {
    Backend backend;
    std::unique_ptr<Runner> runner;
};
Loaded load(std::filesystem::path const& model, Options const& options);

}  // namespace emca::detail
