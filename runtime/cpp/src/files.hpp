// Files: their bytes, their fingerprints, and their names in commands.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace emca::detail {

//! All bytes of a file.
//!
//! \throw Error it is missing, no ordinary file, or cannot be read; `remedy` says what to do
std::string read_file(std::filesystem::path const& path, std::string const& remedy);

//! SHA-256 (FIPS 180-4) as 64 hexadecimal digits.
std::string sha256(std::string_view bytes);

//! A word of a command as shells take it: shlex.quote of Python.
std::string quoted(std::string const& word);

}  // namespace emca::detail
