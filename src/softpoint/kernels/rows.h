// A map as rows that are read in whole vectors, and its maximum.
#pragma once
#include <algorithm>
#include <limits>
#include <vector>

#include "vectors.h"

// How a row of so many cells is read: the last vector ends where the row does, so that its first lanes may be in the one
// before, too. A row shorter than a vector is copied to one, whose spare lanes repeat its first number.
struct Axis {
    int64_t length, stride, last;  // the cells, those that a row takes in memory, and where the last vector begins
    Ints counted{};                // which lanes of the last vector are of no other
    std::vector<float> numbers;    // 0, 1, 2, ...

    explicit Axis(int64_t cells) : length(cells), stride(std::max<int64_t>(cells, LANES)), last(stride - LANES) {
        const int64_t fresh = is_short() ? 0 : (length - 1) / LANES * LANES - last;
        for (int lane = 0; lane < LANES; ++lane) counted[lane] = lane >= fresh && lane + last < length ? -1 : 0;
        for (int64_t i = 0; i < stride; ++i) numbers.push_back(static_cast<float>(i));
    }

    bool is_short() const { return length < LANES; }

    // Zeros in place of the lanes of a last vector that another one has, or none.
    Floats count(Floats values) const { return masked(values, counted); }

    // Calls body(i, count) with the start i of each vector, and a function that keeps what is to be counted.
    template <class Body>
    void for_each_vector(Body body) const {
        for (int64_t i = 0; i < last; i += LANES) body(i, [](Floats values) { return values; });
        body(last, [this](Floats values) { return count(values); });
    }
};

// Rows of one map, in place where they are long enough.
struct Rows {
    std::vector<float> copies;
    const float *cells = nullptr;
    int64_t stride = 0;

    void load(const float *values, int64_t height, const Axis &axis) {
        cells = values, stride = axis.stride;
        if (!axis.is_short()) return;
        copies.resize(height * stride);
        const Ints own = lane_numbers() < static_cast<int32_t>(axis.length);
        for (int64_t y = 0; y < height; ++y) {
            const float *from = values + y * axis.length;
            float *to = &copies[y * stride];
            if (y * axis.length + LANES <= height * axis.length)  // the spare lanes are of the next rows
                write(to, own ? read(from) : all(*from));
            else
                for (int64_t x = 0; x < stride; ++x) to[x] = from[x < axis.length ? x : 0];
        }
        cells = copies.data();
    }

    const float *row(int64_t y) const { return cells + y * stride; }
};

// What the gradient of a map needs, and what its window is read by.
struct Saved {
    float most, total, target_total;  // the largest logit, the sum of e^(z - most), the sum of the target
    float p_gain;                     // see `jensen_shannon`
    float share, least;               // the probability of the largest logit, and the lowest logit, by its factor
    int32_t peak;                     // the first cell with the largest logit
    float x, y, xx, xy, yy;           // mean and covariance
};

struct Peak {
    float value, least;
    int64_t row, column;
};

// The largest number of a map, the first cell that has it, and the least one; what is no number is passed over.
inline Peak find_peak(const Rows &rows, int64_t height, const Axis &axis) {
    constexpr float NEVER = -std::numeric_limits<float>::infinity();
    Floats most = all(NEVER), lowest = all(-NEVER);
    Ints where{};
    for (int64_t y = 0; y < height; ++y) {
        const float *row = rows.row(y);
        const int32_t start = static_cast<int32_t>(y * rows.stride);
        axis.for_each_vector([&](int64_t i, auto) {
            const Floats value = read(row + i);
            where = value > most ? Ints{} + static_cast<int32_t>(start + i) : where;
            most = largest(value, most);
            lowest = least(value, lowest);
        });
    }
    Peak peak{most[0], lowest[0], 0, 0};
    for (int lane = 1; lane < LANES; ++lane) {
        peak.value = std::max(peak.value, most[lane]);
        peak.least = std::min(peak.least, lowest[lane]);
    }
    const Ints cells = most == peak.value ? where + lane_numbers() : Ints{} + std::numeric_limits<int32_t>::max();
    int32_t cell = cells[0];
    for (int lane = 1; lane < LANES; ++lane) cell = std::min(cell, cells[lane]);
    peak.row = cell / rows.stride, peak.column = cell % rows.stride;
    if (peak.column >= axis.length) peak.column = 0;  // a spare lane, which repeats the first number
    return peak;
}
