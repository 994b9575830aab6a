#include "card.hpp"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace emca::detail {
namespace {

struct WrongValue final : nlohmann::json::exception {
    explicit WrongValue(std::string const& what) : exception(0, what.c_str()) {}
};

Card unchecked(nlohmann::json const& values) {
    Card card;
    values.at("classes").get_to(card.classes);
    for (auto const& colour : values.at("palette").get<std::vector<nlohmann::json>>()) {
        auto const parts = whole_numbers(colour, 3, 0, 255);
        card.palette.push_back({static_cast<std::uint8_t>(parts[0]),
                                static_cast<std::uint8_t>(parts[1]),
                                static_cast<std::uint8_t>(parts[2])});
    }
    auto const size = whole_numbers(values.at("input_size"), 2, 1, kLargest);
    card.input_size = {static_cast<int>(size[1]), static_cast<int>(size[0])};
    return card;
}

}  // namespace

Card Card::read(nlohmann::json const& values, std::string const& where, std::string const& remedy) {
    Card card;
    std::string head;
    try {
        card = unchecked(values);
        values.at("head").get_to(head);
    } catch (nlohmann::json::exception const& error) {
        throw Error(where + ": the model card is damaged (" + error.what() + "); " + remedy);
    }
    if (head != "labels") {
        throw Error(where + " was exported with --head " + head +
                    "; export it again with --head labels");
    }
    if (card.classes.empty() || card.palette.size() != card.classes.size()) {
        throw Error(where + ": the model card has " + std::to_string(card.classes.size()) +
                    " classes and " + std::to_string(card.palette.size()) + " colours; " + remedy);
    }
    return card;
}

std::vector<std::int64_t> whole_numbers(nlohmann::json const& values, std::size_t count,
                                        std::int64_t least, std::int64_t most) {
    auto const fits = [least, most](nlohmann::json const& value) {
        // As a double, which holds what would wrap around in the type of the limits.
        return value.is_number_integer() && value.get<double>() >= static_cast<double>(least) &&
               value.get<double>() <= static_cast<double>(most);
    };
    if (!values.is_array() || values.size() != count ||
        !std::all_of(values.begin(), values.end(), fits)) {
        throw WrongValue(values.dump() + " where " + std::to_string(count) +
                         " whole numbers from " + std::to_string(least) + " to " +
                         std::to_string(most) + " belong");
    }
    return values.get<std::vector<std::int64_t>>();
}

nlohmann::json parse_json(std::string const& text, std::string const& where,
                          std::string const& remedy) {
    try {
        return nlohmann::json::parse(text);
    } catch (nlohmann::json::exception const&) {
        throw Error(where + " is no JSON; " + remedy);
    }
}

}  // namespace emca::detail
