#include "arguments.hpp"

#include <charconv>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "source.hpp"

char const* const kUsage =
    "usage: emca-segment MODEL SOURCE -o OUT [options]\n"
    "\n"
    "Labels an image or a video and writes the coloured overlay.\n"
    "\n"
    "  MODEL        NAME.xml of python -m runtime.to_openvino, NAME.engine of runtime.build\n"
    "  SOURCE       an image, a video, a camera (0, /dev/video0) or a URL; Ctrl-C ends a camera\n"
    "  -o OUT       an image file, or an .mp4 for everything else\n"
    "  --labels     of an image: write the label map (PNG, one byte a pixel) instead\n"
    "  --threads N  of OpenVINO; 0, the default, for every core\n"
    "  --device N   of TensorRT: the GPU's number\n"
    "  --plugin FILE  libemca_plugin.so, for engines that need it\n";

namespace {

int number(std::string const& flag, std::string const& text) {
    int value = -1;
    auto const [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code != std::errc{} || end != text.data() + text.size() || value < 0) {
        throw emca::Error(flag + " " + text + " is no number; give 0 or more");
    }
    return value;
}

//! The words of the command line, --name=value split in two.
std::vector<std::string> split(int count, char** words) {
    std::vector<std::string> result;
    for (int i = 1; i < count; ++i) {
        char const* const equals = std::strchr(words[i], '=');
        if (std::string_view(words[i]).substr(0, 2) == "--" && equals != nullptr) {
            result.emplace_back(words[i], static_cast<std::size_t>(equals - words[i]));
            if (result.back() == "--labels" || result.back() == "--help") {
                throw emca::Error(result.back() + " takes no value; leave " + equals + " out");
            }
            result.emplace_back(equals + 1);
        } else {
            result.emplace_back(words[i]);
        }
    }
    return result;
}

}  // namespace

Arguments parse(int count, char** words) {
    Arguments result;
    std::vector<std::string> places;
    auto const all = split(count, words);
    for (auto word = all.begin(); word != all.end(); ++word) {
        auto const value = [&word, &all]() -> std::string const& {
            if (word + 1 == all.end()) {
                throw emca::Error(*word + " needs a value; --help lists the options");
            }
            return *++word;
        };
        if (*word == "-h" || *word == "--help") {
            result.help = true;
        } else if (*word == "-o" || *word == "--out") {
            result.out = value();
        } else if (*word == "--labels") {
            result.labels = true;
        } else if (*word == "--threads") {
            result.options.threads = number("--threads", value());
        } else if (*word == "--device") {
            result.options.device = number("--device", value());
        } else if (*word == "--plugin") {
            result.options.plugin = value();
        } else if (word->size() > 1 && word->front() == '-') {
            throw emca::Error("unknown option " + *word + "; --help lists the options");
        } else {
            places.push_back(*word);
        }
    }
    if (result.help) {
        return result;
    }
    if (places.size() != 2 || result.out.empty()) {
        throw emca::Error("give a model, a source and -o OUT; --help says more");
    }
    for (std::string const& file : {places[0], result.out.string()}) {
        if (is_address(file)) {
            throw emca::Error(without_password(file) +
                              ": no file; give MODEL, SOURCE, then -o OUT");
        }
    }
    result.model = places[0];
    result.source = places[1];
    bool const on_gpu = result.options.device != 0 || !result.options.plugin.empty();
    if (on_gpu && result.model.extension() == ".xml") {
        throw emca::Error("--device and --plugin are of TensorRT; leave them out for " + places[0]);
    }
    return result;
}
