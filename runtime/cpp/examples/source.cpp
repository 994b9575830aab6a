#include "source.hpp"

#include <algorithm>
#include <cctype>

namespace {

constexpr auto kNone = std::string::npos;

//! Whether a host, with a port or without, is all that stands before the first slash.
bool starts_with_host(std::string const& rest) {
    auto end = rest.find_first_of("/@:");
    if (end != kNone && rest[end] == ':') {
        end = rest.find_first_not_of("0123456789", end + 1);
    }
    return end == kNone || rest[end] == '/';
}

bool is_password(std::string name) {
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char letter) { return std::tolower(letter); });
    return name == "pass" || name == "pwd" || name == "passwd" || name == "password";
}

}  // namespace

bool is_address(std::string const& source) { return source.find("://") != kNone; }

std::string without_password(std::string const& source) {
    if (!is_address(source)) {
        return source;
    }
    auto const start = source.find("://") + 3;
    std::string rest = source.substr(start);
    if (!starts_with_host(rest)) {  // a password may hold slashes and @
        rest.erase(0, rest.rfind('@') + 1);
    }
    for (auto equals = rest.find('='); equals != kNone; equals = rest.find('=', equals + 1)) {
        auto name = equals;
        while (name > 0 && std::isalpha(static_cast<unsigned char>(rest[name - 1]))) {
            --name;
        }
        if (is_password(rest.substr(name, equals - name))) {
            auto const end = std::min(rest.find_first_of("&/?#", equals), rest.size());
            rest.replace(equals + 1, end - equals - 1, "***");
        }
    }
    return source.substr(0, start) + rest;
}
