// Half precision by the compiler's own type, which rounds as the GPU does.
#pragma once

#include "cuda_runtime_api.h"

using __half = _Float16;
struct alignas(4) __half2 {
    __half x, y;
};

inline float __half2float(__half value) { return static_cast<float>(value); }
inline __half __float2half(float value) { return static_cast<__half>(value); }
inline float2 __half22float2(__half2 pair) { return {__half2float(pair.x), __half2float(pair.y)}; }
inline __half __hmul(__half left, __half right) {
    return static_cast<__half>(__half2float(left) * __half2float(right));
}
