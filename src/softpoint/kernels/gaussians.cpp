// Gaussians along an axis, each with a sum of 1, in single precision: see softpoint/functional/gaussian.py.
#include <cmath>

#include "rows.h"

extern "C" void softpoint_gaussians(const float *mean, int64_t count, int64_t length, float per_std, float *values) {
    const Axis axis(length);
    std::vector<float> row(axis.stride);
    const float scale = -0.5f * per_std * per_std;
    for (int64_t i = 0; i < count; ++i) {
        // Against the cell nearest to the mean, which is the largest, so that no sum is 0: with t cells between them, the
        // squared distances differ by t (t + 2 (nearest - mean)).
        const float nearest = std::min(std::max(std::nearbyint(mean[i]), 0.0f), static_cast<float>(length - 1));
        const float beyond = 2.0f * (nearest - mean[i]);
        Floats total{};
        axis.for_each_vector([&](int64_t x, auto counted) {
            const Floats t = read(&axis.numbers[x]) - nearest, e = exponential(t * (t + beyond) * scale);
            write(&row[x], e);
            total += counted(e);
        });
        const float per_total = 1.0f / sum(total);
        for (int64_t x = 0; x < length; ++x) values[i * length + x] = row[x] * per_total;
    }
}
