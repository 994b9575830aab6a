// Says why a call failed, to whoever called it.
#pragma once

namespace emca {

//! Report an error, written as for printf, to TensorRT's logger, or to stderr where there is none.
void log_error(char const* format, ...) noexcept __attribute__((format(printf, 1, 2)));

}  // namespace emca
