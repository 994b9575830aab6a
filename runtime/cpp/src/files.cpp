#include "files.hpp"

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <system_error>

#include "emca/segmenter.hpp"

namespace emca::detail {
namespace {

using State = std::array<std::uint32_t, 8>;

constexpr std::size_t kBlock = 64;
// Fractional parts of the square and cube roots of the first primes.
constexpr State kStart{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
constexpr std::uint32_t kRounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

std::uint32_t rotate(std::uint32_t value, int bits) { return value >> bits | value << (32 - bits); }

void digest(State& state, char const* block) {
    std::uint32_t words[64];
    for (int i = 0; i < 16; ++i) {
        words[i] = 0;
        for (int byte = 0; byte < 4; ++byte) {
            words[i] = words[i] << 8 | static_cast<std::uint8_t>(block[4 * i + byte]);
        }
    }
    for (int i = 16; i < 64; ++i) {
        std::uint32_t const x = words[i - 15];
        std::uint32_t const y = words[i - 2];
        words[i] = words[i - 16] + (rotate(x, 7) ^ rotate(x, 18) ^ x >> 3) + words[i - 7] +
                   (rotate(y, 17) ^ rotate(y, 19) ^ y >> 10);
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (int i = 0; i < 64; ++i) {
        std::uint32_t const first = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                                    ((e & f) ^ (~e & g)) + kRounds[i] + words[i];
        std::uint32_t const second =
            (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + first;
        d = c, c = b, b = a, a = first + second;
    }
    State const change{a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < state.size(); ++i) {
        state[i] += change[i];
    }
}

}  // namespace

std::string sha256(std::string_view bytes) {
    State state = kStart;
    std::size_t const whole = bytes.size() / kBlock * kBlock;
    for (std::size_t start = 0; start < whole; start += kBlock) {
        digest(state, bytes.data() + start);
    }
    // A one bit, zeros, and the length in bits fill the last blocks.
    std::string end{bytes.substr(whole)};
    end += '\x80';
    end.resize((end.size() + 8 + kBlock - 1) / kBlock * kBlock);
    for (std::size_t byte = 0; byte < 8; ++byte) {
        end[end.size() - 1 - byte] = static_cast<char>(std::uint64_t{bytes.size()} * 8 >> 8 * byte);
    }
    for (std::size_t start = 0; start < end.size(); start += kBlock) {
        digest(state, end.data() + start);
    }
    std::string text;
    for (std::uint32_t const word : state) {
        for (int shift = 28; shift >= 0; shift -= 4) {
            text += "0123456789abcdef"[word >> shift & 15];
        }
    }
    return text;
}

std::string quoted(std::string const& word) {
    constexpr char const* kSafe =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
    if (!word.empty() && word.find_first_not_of(kSafe) == std::string::npos) {
        return word;
    }
    std::string result = "'";
    for (char const letter : word) {
        result += letter == '\'' ? "'\"'\"'" : std::string(1, letter);
    }
    return result + "'";
}

std::string read_file(std::filesystem::path const& path, std::string const& remedy) {
    std::error_code code;
    auto const kind = std::filesystem::status(path, code);
    if (std::filesystem::exists(kind) && !std::filesystem::is_regular_file(kind)) {
        bool const folder = std::filesystem::is_directory(kind);
        throw Error(path.string() + " is " + (folder ? "a folder" : "no ordinary file") + "; " +
                    remedy);
    }
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    std::string bytes;
    auto const size = std::filesystem::file_size(path, code);
    if (file && !code) {
        bytes.resize(size);
        file.read(bytes.data(), static_cast<std::streamsize>(size));
    }
    if (!file || code) {
        throw Error(path.string() + ": " + (errno ? std::strerror(errno) : "cannot be read") +
                    "; " + remedy);
    }
    return bytes;
}

}  // namespace emca::detail
