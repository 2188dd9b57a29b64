// One map in rows of whole vectors, and its maximum.
#pragma once
#include <algorithm>
#include <limits>
#include <vector>

#include "vectors.h"

constexpr float NEVER = -std::numeric_limits<float>::infinity();

// Copies a row without a call, in vectors of which the last may overlap the one before.
inline void copy_row(float *to, const float *from, int64_t length) {
    if (length < LANES) {
        for (int64_t i = 0; i < length; ++i) to[i] = from[i];
        return;
    }
    for (int64_t i = 0; i + LANES <= length; i += LANES) write(to + i, read(from + i));
    write(to + length - LANES, read(from + length - LANES));
}

// Numbers of one map in rows of whole vectors, whose spare lanes are `rest`.
struct PaddedMap {
    std::vector<float> cells;
    int64_t height = 0, width = 0, stride = 0;

    void resize(int64_t rows, int64_t columns, float rest) {
        if (height == rows && width == columns) return;
        height = rows, width = columns, stride = (columns + LANES - 1) / LANES * LANES;
        cells.assign(height * stride, rest);
    }

    void load(const float *values, int64_t rows, int64_t columns, float rest) {
        resize(rows, columns, rest);
        for (int64_t y = 0; y < height; ++y) copy_row(row(y), values + y * width, width);
    }

    float *row(int64_t y) { return &cells[y * stride]; }
};

// What the gradient of a map needs, and what its window is read by.
struct Saved {
    float most, total, target_total;  // the largest logit, the sum of e^(z - most), the sum of the target
    float p_gain;                     // see `jensen_shannon`
    float share, least;               // the probability of the largest logit, and the lowest logit, by its factor
    int32_t peak;                     // the first cell with the largest logit
};

struct Peak {
    float value, least;
    int64_t row, column;
};

// The largest value, the first cell that has it, and the least one; NaN is the largest value of a map that holds one.
inline Peak find_peak(const PaddedMap &logits) {
    Floats most = all(NEVER), negative = all(NEVER);
    Ints where{}, number{}, broken{};
    for (int64_t i = 0; i < static_cast<int64_t>(logits.cells.size()); i += LANES, number += 1) {
        const Floats value = read(&logits.cells[i]);
        broken |= value != value;
        where = value > most ? number : where;
        most = largest(value, most);
        // Spare lanes are -inf, and are no least value.
        negative = largest(value == NEVER ? value : -value, negative);
    }
    Peak peak{NEVER, -NEVER, 0, 0};
    int64_t cell = logits.cells.size();
    for (int lane = 0; lane < LANES; ++lane) {
        const int64_t here = static_cast<int64_t>(where[lane]) * LANES + lane;
        if (most[lane] > peak.value || (most[lane] == peak.value && here < cell)) peak.value = most[lane], cell = here;
        peak.least = std::min(peak.least, -negative[lane]);
    }
    for (int lane = 0; lane < LANES; ++lane)
        if (broken[lane]) peak.value = std::numeric_limits<float>::quiet_NaN();
    peak.row = cell / logits.stride, peak.column = std::min(cell % logits.stride, logits.width - 1);
    return peak;
}
