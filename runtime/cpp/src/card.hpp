// What a model says about itself: segdata/card.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>
#include <opencv2/core/types.hpp>

#include "emca/segmenter.hpp"

namespace emca::detail {

struct Card {
    std::vector<std::string> classes;
    std::vector<Colour> palette;  //!< as long as `classes`
    cv::Size input_size;

    //! Read the card from JSON; `where` and `remedy` stand in errors.
    //!
    //! \throw Error a key is missing or wrong, or the model was exported without label maps
    static Card read(nlohmann::json const& values, std::string const& where,
                     std::string const& remedy);
};

//! Sizes beyond it are damage; a batch of the largest images still has its bytes counted in 64
//! bits.
inline constexpr std::int64_t kLargest = 1 << 20;  // LARGEST_SIZE of segdata/card.py

//! Exactly `count` whole numbers, which JSON's own conversions would cut to size.
//!
//! \throw nlohmann::json::exception they are others
std::vector<std::int64_t> whole_numbers(nlohmann::json const& values, std::size_t count,
                                        std::int64_t least, std::int64_t most);

//! Parse JSON.
//!
//! \throw Error it is none
nlohmann::json parse_json(std::string const& text, std::string const& where,
                          std::string const& remedy);

}  // namespace emca::detail
