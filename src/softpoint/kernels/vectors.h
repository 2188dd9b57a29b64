// As many floats at once as a register of this processor holds, in the vector extension that GCC and Clang share.
// Reductions are written out, so that no flag need reorder other arithmetic.
#pragma once
#include <cstdint>
#include <cstring>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
typedef float Floats __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t Ints __attribute__((vector_size(LANES * sizeof(int32_t))));

// log 2 in two parts, the first of which has few digits, so that its product with a whole number is exact.
constexpr float LOG_2_HIGH = 0.693115234375f, LOG_2_LOW = 3.19461849e-5f;

inline Floats all(float value) { return Floats{} + value; }

inline Floats read(const float *from) {
    Floats value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

// The first `count` values, and `rest` in the other lanes, without a read beyond them.
inline Floats read_part(const float *from, int64_t count, float rest) {
    Floats value = all(rest);
    std::memcpy(&value, from, count * sizeof(float));
    return value;
}

inline void write(float *to, Floats value) { std::memcpy(to, &value, sizeof value); }

inline Ints lane_numbers() {
    Ints numbers;
    for (int lane = 0; lane < LANES; ++lane) numbers[lane] = lane;
    return numbers;
}

inline Floats lane_floats() { return __builtin_convertvector(lane_numbers(), Floats); }

// The larger and the smaller of two numbers in each lane; b where one of them is NaN. GCC finds no instruction for them.
#if defined(__AVX512F__)
inline Floats largest(Floats a, Floats b) { return _mm512_max_ps(a, b); }
inline Floats least(Floats a, Floats b) { return _mm512_min_ps(a, b); }
#elif defined(__AVX2__)
inline Floats largest(Floats a, Floats b) { return _mm256_max_ps(a, b); }
inline Floats least(Floats a, Floats b) { return _mm256_min_ps(a, b); }
#else
inline Floats largest(Floats a, Floats b) { return a > b ? a : b; }
inline Floats least(Floats a, Floats b) { return a < b ? a : b; }
#endif

// Zeros in place of lanes whose bits are not set in `mask`.
inline Floats masked(Floats value, Ints mask) {
    Ints bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits &= mask;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// Sums in double precision, of which a vector of single precision holds several.
typedef float Quarter __attribute__((vector_size(4 * sizeof(float))));
typedef double Doubles __attribute__((vector_size(4 * sizeof(double))));

inline Doubles wide(Floats value) {
    Doubles total{};
    for (int first = 0; first < LANES; first += 4) {
        Quarter quarter;
        std::memcpy(&quarter, reinterpret_cast<const char *>(&value) + first * sizeof(float), sizeof quarter);
#ifdef __AVX2__
        total += Doubles(_mm256_cvtps_pd(quarter));
#else
        total += __builtin_convertvector(quarter, Doubles);
#endif
    }
    return total;
}

inline double sum(Doubles value) { return (value[0] + value[1]) + (value[2] + value[3]); }

inline double sum(Floats value) { return sum(wide(value)); }

// e^x for x <= 88, with a relative error below 2e-7; 0 below -87.7, where single precision has no more normal numbers. NaN
// stays NaN. x = k log 2 + r, and a polynomial in r, of least error at Chebyshev's nodes of [-log(2)/2, log(2)/2]. A sum
// with 1.5 * 2^23 rounds to a whole number, which its lowest bits are then.
inline Floats exponential(Floats x) {
    const Floats inside = largest(all(-88.0f), x);
    const Floats rounded = inside * 1.44269504f + 12582912.0f;
    const Floats whole = rounded - 12582912.0f;
    const Floats r = (inside - whole * LOG_2_HIGH) - whole * LOG_2_LOW;
    Floats p = all(1.388050383e-03f);
    p = p * r + 8.363173343e-03f;
    p = p * r + 4.166724160e-02f;
    p = p * r + 1.666657776e-01f;
    p = p * r + 4.999999702e-01f;
    p = (p * r + 1.0f) * r + 1.0f;
    Ints bits;
    std::memcpy(&bits, &rounded, sizeof bits);
    bits = (bits << 23) + (127 << 23);
    Floats scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

// log x of normal numbers x > 0, with a relative error below 2e-7; below -87 for 0. x = 2^k (1 + r), with 1 + r in [sqrt(1/2), sqrt(2)), and
// a polynomial in r, of least error at Chebyshev's nodes.
inline Floats logarithm(Floats x) {
    Ints bits;
    std::memcpy(&bits, &x, sizeof bits);
    const Ints k = (bits - 0x3f3504f3) >> 23;
    const Ints of_mantissa = bits - (k << 23);
    Floats mantissa;
    std::memcpy(&mantissa, &of_mantissa, sizeof mantissa);
    const Floats r = mantissa - 1.0f, whole = __builtin_convertvector(k, Floats);
    Floats p = all(6.971611828e-2f);
    p = p * r - 1.147973388e-1f;
    p = p * r + 1.168541983e-1f;
    p = p * r - 1.242568716e-1f;
    p = p * r + 1.424905807e-1f;
    p = p * r - 1.666780263e-1f;
    p = p * r + 2.000071555e-1f;
    p = p * r - 2.499999702e-1f;
    p = p * r + 3.333333135e-1f;
    const Floats small = (p * r - 0.5f) * (r * r) + whole * LOG_2_LOW;
    return r + small + whole * LOG_2_HIGH;
}
