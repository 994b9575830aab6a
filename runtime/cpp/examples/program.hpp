// How the programs end: 0, or one line on stderr and 2 for what the user can mend, 1 for the rest.
#pragma once

#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "emca/segmenter.hpp"

//! In one line; those of OpenCV have several.
inline std::string one_line(std::string text) {
    text.erase(text.find_last_not_of(" \r\n") + 1);
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text;
}

template <typename Work>
int run_program(Work const& work) {
    auto const fail = [](int code, std::string const& said) {
        std::fprintf(stderr, "error: %s\n", one_line(said).c_str());
        return code;
    };
    try {
        work();
        if (std::fflush(stdout) != 0) {
            throw emca::Error("what is printed cannot be written; check the disk");
        }
        return 0;
    } catch (emca::Error const& error) {
        return fail(2, error.what());
    } catch (std::bad_alloc const&) {
        return fail(1, "the memory is too short");
    } catch (std::exception const& error) {
        return fail(1, error.what());
    }
}
