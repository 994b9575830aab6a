// Files, fingerprints, and the model card.
#include <fstream>

#include <nlohmann/json.hpp>

#include "card.hpp"
#include "check.hpp"
#include "files.hpp"

using emca::detail::Card;
using emca::detail::quoted;
using emca::detail::read_file;
using emca::detail::sha256;
namespace fs = std::filesystem;

namespace {

// Examples of FIPS 180-4, and lengths about a block of 64 bytes (by Python's hashlib).
void check_sha256() {
    CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(sha256(std::string(55, 'x')) ==
          "d5e285683cd4efc02d021a5c62014694958901005d6f71e89e0989fac77e4072");
    CHECK(sha256(std::string(56, 'x')) ==
          "04c26261370ee7541549d16dee320c723e3fd14671e66a099afe0a377c16888e");
    CHECK(sha256(std::string(64, 'x')) ==
          "7ce100971f64e7001e8fe5a51973ecdfe1ced42befe7ee8d5fd6219506b5393c");
    CHECK(sha256(std::string(1000, 'x')) ==
          "44f8354494a5ba03ba1792a8d3e9c534c47a9181980fde7a3f44b06ef2ae7c7f");
}

void check_read_file(fs::path const& folder) {
    fs::create_directories(folder);
    std::ofstream(folder / "bytes", std::ios::binary) << std::string("a\0\r\n\xff", 5);
    CHECK(read_file(folder / "bytes", "") == std::string("a\0\r\n\xff", 5));
    CHECK_ERROR(read_file(folder / "none", "do this"), "none: No such file or directory; do this");
    CHECK_ERROR(read_file(folder, "do this"), "is a folder; do this");
    CHECK_ERROR(read_file("/dev/zero", "do this"), "/dev/zero is no ordinary file; do this");
}

void check_quoted() {
    CHECK(quoted("/a-b/c_d.engine") == "/a-b/c_d.engine");
    CHECK(quoted("") == "''" && quoted("a b") == "'a b'" && quoted("ß") == "'ß'");
    CHECK(quoted("it's") == "'it'\"'\"'s'");
}

nlohmann::json card() {
    return {{"classes", {"road", "größe"}},
            {"palette", {{1, 2, 3}, {4, 5, 255}}},
            {"input_size", {48, 64}},
            {"head", "labels"}};
}

//! The card with another value at one key.
nlohmann::json with(char const* key, nlohmann::json value) {
    auto result = card();
    result[key] = std::move(value);
    return result;
}

void check_card() {
    Card const read = Card::read(card(), "x", "");
    CHECK(read.classes[1] == "größe" && read.palette[1].blue == 255);
    CHECK(read.input_size == cv::Size(64, 48));
    auto const refuse = [](nlohmann::json const& values, char const* words) {
        CHECK_ERROR(Card::read(values, "m.xml", "do this"), words);
    };
    refuse(nlohmann::json::array(), "m.xml: the model card is damaged (");
    refuse(with("classes", 3), "; do this");
    refuse(with("classes", {"road"}), "1 classes and 2 colours; do this");
    refuse(with("palette", {{1, 2}, {3, 4}}), "the model card is damaged (");
    for (nlohmann::json const& colour :
         {nlohmann::json{4, 5, 300}, {4, 5, -1}, {4, 5, 1e300}, {4, 5, 6, 7, 8}, {4, 5, "6"}}) {
        refuse(with("palette", {{1, 2, 3}, colour}), "3 whole numbers from 0 to 255 belong); do");
    }
    refuse(with("palette", {{"road", {1, 2, 3}}, {"sky", {4, 5, 6}}}), "is damaged (");
    for (nlohmann::json const& size :
         {nlohmann::json{48, -1}, {48, 0}, {48, 64, 3}, {48, 64.5}, {48, 4294967344}, {true, 64}}) {
        refuse(with("input_size", size), "2 whole numbers from 1 to 1048576 belong); do this");
    }
    refuse(with("head", "scores"), "was exported with --head scores");
    refuse(with("head", "a\nb\r"), "was exported with --head a\\nb\\r; export");
    CHECK_ERROR(emca::detail::parse_json("{", "m.json", "do this"), "m.json is no JSON; do this");
}

}  // namespace

int main(int, char** words) {
    check_sha256();
    check_read_file(fs::path(words[1]) / "files");
    check_quoted();
    check_card();
    return 0;
}
