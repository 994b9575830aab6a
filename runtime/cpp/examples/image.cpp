#include "image.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <system_error>
#include <vector>

#include <unistd.h>

#include <opencv2/imgcodecs.hpp>

#include "emca/segmenter.hpp"
#include "jpeg.hpp"

namespace fs = std::filesystem;

namespace {

std::string const kPngMark = "\x89PNG\r\n\x1a\n";

class Temporary {
public:
    explicit Temporary(fs::path const& path)
        : path_(path.parent_path() / ("." + path.stem().string() + "." + std::to_string(getpid()) +
                                      ".part" + path.extension().string())) {}
    ~Temporary() {
        std::error_code ignored;
        fs::remove(path_, ignored);
    }
    Temporary(Temporary const&) = delete;
    Temporary& operator=(Temporary const&) = delete;
    fs::path const& path() const { return path_; }

private:
    fs::path path_;
};

//! The checksum of PNG.
std::uint32_t crc32(char const* bytes, std::size_t count) {
    static auto const table = [] {
        std::array<std::uint32_t, 256> values{};
        for (std::uint32_t i = 0; i < values.size(); ++i) {
            values[i] = i;
            for (int bit = 0; bit < 8; ++bit) {
                values[i] = (values[i] >> 1) ^ ((values[i] & 1) != 0 ? 0xedb88320U : 0U);
            }
        }
        return values;
    }();
    std::uint32_t rest = ~0U;
    for (std::size_t i = 0; i < count; ++i) {
        rest = (rest >> 8) ^ table[(rest ^ static_cast<std::uint8_t>(bytes[i])) & 255];
    }
    return ~rest;
}

//! Whether every chunk (length, type, content, checksum) is there and as it was written.
bool png_is_whole(std::string const& bytes) {
    auto const number = [&bytes](std::size_t at) {
        std::uint32_t value = 0;
        for (std::size_t i = at; i < at + 4; ++i) {
            value = value << 8 | static_cast<std::uint8_t>(bytes[i]);
        }
        return value;
    };
    for (std::size_t start = kPngMark.size(); start + 12 <= bytes.size();) {
        std::size_t const length = number(start);
        if (length > bytes.size() - start - 12 ||
            crc32(&bytes[start + 4], length + 4) != number(start + 8 + length)) {
            return false;
        }
        if (bytes.compare(start + 4, 4, "IEND") == 0) {
            return true;
        }
        start += length + 12;
    }
    return false;
}

//! Whether the end is reached from segment to segment; phones append films behind it.
bool jpeg_is_whole(std::string const& bytes) {
    auto const byte = [&bytes](std::size_t at) -> unsigned {
        return at < bytes.size() ? static_cast<std::uint8_t>(bytes[at]) : 0;
    };
    std::size_t at = 2;
    while ((at = bytes.find('\xff', at)) != std::string::npos) {
        unsigned const marker = byte(at + 1);
        // Within pixels FF stands before 00 or a restart marker, and may be repeated before any.
        if (marker <= 0x01 || marker == 0xff || (marker >= 0xd0 && marker <= 0xd7)) {
            ++at;
        } else if (marker == 0xd9) {
            return true;
        } else {  // the length of the segment; behind a start of scan come pixels up to the next
            at += 2 + (byte(at + 2) << 8 | byte(at + 3));
        }
    }
    return false;
}

//! Decoders fill what is missing with grey and go on; only the bytes tell.
bool is_whole(std::string const& bytes) {
    auto const starts = [&bytes](std::string const& mark) {
        return bytes.compare(0, mark.size(), mark) == 0;
    };
    if (starts("\xff\xd8\xff")) {
        return jpeg_is_whole(bytes);
    }
    return !starts(kPngMark) || png_is_whole(bytes);
}

//! The image in the format of the name.
std::vector<unsigned char> encode(fs::path const& path, cv::Mat const& image) {
    std::vector<unsigned char> bytes;
    try {
        cv::imencode(path.extension().string(), image, bytes);
    } catch (cv::Exception const&) {  // no such format
    }
    if (bytes.empty()) {
        throw emca::Error(path.string() + ": OpenCV writes no such format; name a .png or .jpg");
    }
    return bytes;
}

}  // namespace

bool is_image(fs::path const& path) {
    std::string suffix = path.extension().string();
    std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                   [](unsigned char letter) { return std::tolower(letter); });
    char const* const known[] = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"};
    return std::find(std::begin(known), std::end(known), suffix) != std::end(known);
}

cv::Mat read_image(fs::path const& path) {
    cv::Mat image;
    read_image(path, image);
    return image;
}

void read_image(fs::path const& path, cv::Mat& image) {
    std::error_code code;
    if (!fs::is_regular_file(path, code)) {
        throw emca::Error(path.string() + ": no such file; check the path");
    }
    std::string bytes(fs::file_size(path, code), '\0');
    if (!std::ifstream(path, std::ios::binary)
             .read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) {
        bytes.clear();
    }
    bool read = false;
    if (!bytes.empty() && is_whole(bytes)) {
        cv::Mat const data(1, static_cast<int>(bytes.size()), CV_8UC1,
                           const_cast<char*>(bytes.data()));
        try {
            read = decode_plain_jpeg(bytes, image) ||
                   !cv::imdecode(data, cv::IMREAD_COLOR, &image).empty();
        } catch (cv::Exception const& error) {  // absurd sizes, among others
            if (error.code == cv::Error::StsNoMem) {
                throw;
            }
        }
    }
    if (!read) {
        throw emca::Error(path.string() + ": not a readable image, or damaged; replace it");
    }
}

void write_image(fs::path const& path, cv::Mat const& image, std::atomic<bool> const& stop) {
    write_whole(path, [&image, &path, &stop](fs::path const& temporary) {
        auto const bytes = encode(path, image);
        errno = 0;
        std::ofstream file(temporary, std::ios::binary);
        file.write(reinterpret_cast<char const*>(bytes.data()),
                   static_cast<std::streamsize>(bytes.size()));
        file.close();
        if (!file) {
            throw emca::Error(path.string() + ": " +
                              (errno ? std::strerror(errno) : "cannot be written") +
                              "; check the folder and the disk");
        }
        if (stop) {
            throw emca::Error("interrupted; " + path.string() + " is not written");
        }
    });
}

void write_whole(fs::path const& path, std::function<void(fs::path const&)> const& write) {
    std::error_code code;
    if (fs::exists(path, code) && !fs::is_regular_file(path, code)) {
        throw emca::Error(path.string() + " is no ordinary file; give the name of a file to write");
    }
    if (!path.parent_path().empty()) {
        fs::create_directories(path.parent_path(), code);
    }
    if (code) {
        throw emca::Error(path.parent_path().string() + ": " + code.message() +
                          "; give another -o");
    }
    Temporary const temporary(path);
    write(temporary.path());
    fs::rename(temporary.path(), path, code);
    if (code) {
        throw emca::Error(path.string() + ": " + code.message() + "; give another -o");
    }
}
