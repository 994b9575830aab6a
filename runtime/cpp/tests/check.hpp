// What the tests share: checks that say where they failed, and the folder of the golden files.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "emca/segmenter.hpp"

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            std::fprintf(stderr, "%s:%d: not %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                            \
        }                                                                            \
    } while (false)

//! Checks that the expression throws emca::Error of one line that holds `words`.
#define CHECK_ERROR(expression, words) \
    test::check_error([&] { static_cast<void>(expression); }, words, __FILE__, __LINE__)

namespace test {

template <typename Work>
void check_error(Work const& work, std::string const& words, char const* file, int line) {
    std::string said = "nothing";
    try {
        work();
    } catch (emca::Error const& error) {
        said = error.what();
    }
    if (said.find(words) == std::string::npos || said.find('\n') != std::string::npos) {
        std::fprintf(stderr, "%s:%d: threw \"%s\", expected \"%s\"\n", file, line, said.c_str(),
                     words.c_str());
        std::exit(1);
    }
}

}  // namespace test
