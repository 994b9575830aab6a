// What a model says about itself: segdata/card.py.
#pragma once

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

//! Parse JSON.
//!
//! \throw Error it is none
nlohmann::json parse_json(std::string const& text, std::string const& where,
                          std::string const& remedy);

}  // namespace emca::detail
