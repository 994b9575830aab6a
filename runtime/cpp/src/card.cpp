#include "card.hpp"

#include <array>

#include <nlohmann/json.hpp>

namespace emca::detail {
namespace {

Card unchecked(nlohmann::json const& values) {
    Card card;
    values.at("classes").get_to(card.classes);
    for (auto const& colour :
         values.at("palette").get<std::vector<std::array<std::uint8_t, 3>>>()) {
        card.palette.push_back({colour[0], colour[1], colour[2]});
    }
    auto const [height, width] = values.at("input_size").get<std::array<int, 2>>();
    card.input_size = {width, height};
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
    bool const whole = !card.classes.empty() && card.palette.size() == card.classes.size() &&
                       card.input_size.width > 0 && card.input_size.height > 0;
    if (!whole) {
        throw Error(where + ": the model card has " + std::to_string(card.classes.size()) +
                    " classes and " + std::to_string(card.palette.size()) + " colours; " + remedy);
    }
    return card;
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
