// Reads of logit maps in single precision: see softpoint/functional/map_statistics.py for the mathematics in PyTorch.
//
// Maps are (n, h, w), without gaps. Every pointer but `logits` may be null, and is left out then. A target is given by its
// distributions along both axes (n, h) and (n, w), or by dense maps. Sums along rows run in single precision, in 16 lanes;
// the sums of blocks of rows in double precision. Each map is read from memory once: a second pass finds it in the cache.
#include <algorithm>
#include <cmath>
#include <vector>

#include "padded_map.h"

namespace {

constexpr int64_t BLOCK_ROWS = 16;
constexpr float SMALLEST = 1.17549435e-38f;
constexpr float LOWEST = -std::numeric_limits<float>::max();
// Below the logarithm of any normal number, so that a product with a probability of 0 is 0.
constexpr float LOG_OF_ZERO = -200.0f;

struct Maps {
    const float *logits, *inverse_temperature, *along_y, *along_x, *dense;
    int64_t count, height, width;

    int64_t cells() const { return height * width; }
    float factor(int64_t map) const { return inverse_temperature ? inverse_temperature[map] : 1.0f; }
    bool has_target() const { return along_x || dense; }
};

Floats log_of(Floats value) {
    return value < SMALLEST ? all(LOG_OF_ZERO) : logarithm(largest(value, all(SMALLEST)));
}

// Distributions along the axes, padded with zeros to whole vectors, and their logarithms.
struct AxisTarget {
    std::vector<float> x, log_x, log_y;
    const float *y = nullptr;

    void load(const Maps &maps, int64_t map, bool logarithms) {
        const int64_t padded = (maps.width + LANES - 1) / LANES * LANES;
        x.assign(padded, 0.0f);
        std::copy_n(maps.along_x + map * maps.width, maps.width, x.begin());
        y = maps.along_y + map * maps.height;
        if (!logarithms) return;
        log_x.resize(padded);
        for (int64_t i = 0; i < padded; i += LANES) write(&log_x[i], log_of(read(&x[i])));
        log_y.resize((maps.height + LANES - 1) / LANES * LANES);
        for (int64_t i = 0; i < maps.height; i += LANES)
            write(&log_y[i], log_of(read_part(y + i, std::min<int64_t>(LANES, maps.height - i), 0.0f)));
    }
};

// Sums of e^(z - max) over a map, times powers of the distance from its maximum.
struct Moments {
    double total = 0, x = 0, y = 0, xx = 0, xy = 0, yy = 0;
};

struct Outputs {
    float *log_total, *mean, *covariance;
    Saved *saved;
    float *cross_entropy, *divergence, *jensen_shannon;

    bool logs_target() const { return divergence || jensen_shannon; }
};

// Memory of one thread.
struct Scratch {
    PaddedMap logits, exponentials, dense, gradient;
    AxisTarget target;

    // The target of a map, whose rows times `weight` of the row are its maps.
    void load_target(const Maps &maps, int64_t map, bool logarithms) {
        if (maps.along_x) target.load(maps, map, logarithms);
        if (maps.dense) dense.load(maps.dense + map * maps.cells(), maps.height, maps.width, 0.0f);
    }

    const float *target_row(const Maps &maps, int64_t y) { return maps.dense ? dense.row(y) : target.x.data(); }
    float weight(const Maps &maps, int64_t y) const { return maps.dense ? 1.0f : target.y[y]; }
};

// Half the sums of p (log p - log m) and q (log q - log m) with m = (p + q) / 2; the first sum is needed again.
float jensen_shannon(const Maps &maps, double total, float most, float factor, Scratch &scratch, float &p_gain) {
    const float per_total = 1.0 / total, shift = std::log(total);
    double of_p = 0, of_q = 0;
    for (int64_t start = 0; start < maps.height; start += BLOCK_ROWS) {
        Floats block_p{}, block_q{};
        for (int64_t y = start; y < std::min(start + BLOCK_ROWS, maps.height); ++y) {
            const float *logits = scratch.logits.row(y), *e = scratch.exponentials.row(y);
            const float *targets = scratch.target_row(maps, y), *log_x = scratch.target.log_x.data();
            const float weight = scratch.weight(maps, y), log_weight = maps.dense ? 0.0f : scratch.target.log_y[y];
            for (int64_t i = 0; i < scratch.logits.stride; i += LANES) {
                const Floats p = read(e + i) * per_total, q = read(targets + i) * weight;
                const Floats log_p = largest((read(logits + i) - most) * factor - shift, all(LOG_OF_ZERO));
                const Floats log_q = maps.dense ? log_of(q) : read(log_x + i) + log_weight;
                const Floats log_m = log_of((p + q) * 0.5f);
                block_p += p * (log_p - log_m);
                block_q += q * (log_q - log_m);
            }
        }
        of_p += sum(block_p), of_q += sum(block_q);
    }
    p_gain = of_p;
    return 0.5 * (of_p + of_q);
}

// The sum of q log q over a target.
double negative_entropy(const Maps &maps, Scratch &scratch) {
    double total = 0;
    for (int64_t y = 0; y < maps.height; ++y) {
        const float *targets = scratch.target_row(maps, y);
        const float weight = scratch.weight(maps, y), log_weight = maps.dense ? 0.0f : scratch.target.log_y[y];
        Floats row{};
        for (int64_t i = 0; i < scratch.logits.stride; i += LANES) {
            const Floats q = read(targets + i);
            row += q * (maps.dense ? log_of(q) : read(&scratch.target.log_x[i]) + log_weight);
        }
        total += weight * sum(row);
    }
    return total;
}

template <bool HAS_TARGET>
void forward_map(const Maps &maps, int64_t map, const Outputs &out, Scratch &scratch) {
    PaddedMap &logits = scratch.logits;
    logits.load(maps.logits + map * maps.cells(), maps.height, maps.width, NEVER);
    const Peak peak = find_peak(logits);
    const float factor = maps.factor(map);
    const bool keep = out.jensen_shannon != nullptr;
    if (HAS_TARGET) scratch.load_target(maps, map, out.logs_target());
    if (keep) scratch.exponentials.resize(maps.height, maps.width, 0.0f);
    Moments sums;
    double inner = 0, target_total = 0;  // of the target and z - max, and of the target alone
    const Floats first = lane_floats() - static_cast<float>(peak.column);
    for (int64_t start = 0; start < maps.height; start += BLOCK_ROWS) {
        Floats total{}, x{}, y{}, xx{}, xy{}, yy{}, products{}, weights{};
        for (int64_t row = start; row < std::min(start + BLOCK_ROWS, maps.height); ++row) {
            Floats row_total{}, row_x{}, row_xx{}, row_products{}, row_weights{}, dx = first;
            const float *values = logits.row(row), *targets = HAS_TARGET ? scratch.target_row(maps, row) : nullptr;
            for (int64_t i = 0; i < logits.stride; i += LANES, dx += static_cast<float>(LANES)) {
                const Floats z = (read(values + i) - peak.value) * factor;
                const Floats e = exponential(z);
                if (keep) write(scratch.exponentials.row(row) + i, e);
                const Floats ex = e * dx;
                row_total += e;
                row_x += ex;
                row_xx += ex * dx;
                if (!HAS_TARGET) continue;
                const Floats q = read(targets + i);
                row_products += q * largest(z, all(LOWEST));  // spare lanes are -inf, which times 0 were NaN
                row_weights += q;
            }
            const float dy = static_cast<float>(row - peak.row);
            total += row_total;
            x += row_x;
            xx += row_xx;
            y += row_total * dy;
            xy += row_x * dy;
            yy += row_total * (dy * dy);
            if (!HAS_TARGET) continue;
            products += row_products * scratch.weight(maps, row);
            weights += row_weights * scratch.weight(maps, row);
        }
        sums.total += sum(total), sums.x += sum(x), sums.y += sum(y);
        sums.xx += sum(xx), sums.xy += sum(xy), sums.yy += sum(yy);
        if (HAS_TARGET) inner += sum(products), target_total += sum(weights);
    }
    const double dx = sums.x / sums.total, dy = sums.y / sums.total, log_total = std::log(sums.total);
    out.log_total[map] = static_cast<double>(peak.value) * factor + log_total;
    out.mean[2 * map] = peak.column + dx;
    out.mean[2 * map + 1] = peak.row + dy;
    float *covariance = out.covariance + 4 * map;
    covariance[0] = sums.xx / sums.total - dx * dx;
    covariance[1] = covariance[2] = sums.xy / sums.total - dx * dy;
    covariance[3] = sums.yy / sums.total - dy * dy;
    Saved &saved = out.saved[map];
    saved = {peak.value,
             static_cast<float>(sums.total),
             static_cast<float>(target_total),
             0.0f,
             static_cast<float>(1.0 / sums.total),
             peak.least * factor,
             static_cast<int32_t>(peak.row * maps.width + peak.column)};
    const double cross_entropy = target_total * log_total - inner;
    if (out.cross_entropy) out.cross_entropy[map] = cross_entropy;
    if (out.divergence) out.divergence[map] = cross_entropy + negative_entropy(maps, scratch);
    if (keep) out.jensen_shannon[map] = jensen_shannon(maps, sums.total, peak.value, factor, scratch, saved.p_gain);
}

struct Gradients {
    const float *log_total, *mean, *covariance, *cross_entropy, *jensen_shannon;

    static float at(const float *values, int64_t index) { return values ? values[index] : 0.0f; }
};

// Coefficients of the gradient of one map: p (constant + gx dx + gy dy + gxx dx^2 + ...) less `entropy` times the target.
template <bool HAS_TARGET, bool HAS_JS>
void backward_map(const Maps &maps, int64_t map, const float *mean, const float *covariance, const Saved &saved,
                  const Gradients &given, float *gradient, float *of_factor, Scratch &scratch) {
    float *to = gradient + map * maps.cells();
    const float log_total = Gradients::at(given.log_total, map), entropy = Gradients::at(given.cross_entropy, map);
    const float gx = Gradients::at(given.mean, 2 * map), gy = Gradients::at(given.mean, 2 * map + 1);
    const float gxx = Gradients::at(given.covariance, 4 * map), gyy = Gradients::at(given.covariance, 4 * map + 3);
    const float gxy = Gradients::at(given.covariance, 4 * map + 1) + Gradients::at(given.covariance, 4 * map + 2);
    const float half_js = 0.5f * Gradients::at(given.jensen_shannon, map);
    if (log_total == 0 && entropy == 0 && gx == 0 && gy == 0 && gxx == 0 && gyy == 0 && gxy == 0 && half_js == 0) {
        std::fill_n(to, maps.cells(), 0.0f);
        if (of_factor) of_factor[map] = 0;
        return;
    }
    PaddedMap &logits = scratch.logits, &result = scratch.gradient;  // of one row at a time
    result.resize(1, maps.width, 0.0f);
    if (HAS_TARGET) scratch.load_target(maps, map, false);
    const float factor = maps.factor(map), per_total = 1.0f / saved.total, shift = std::log(saved.total);
    const float *at = mean + 2 * map, *spread = covariance + 4 * map;
    const float constant = log_total + entropy * saved.target_total - gxx * spread[0] - gxy * spread[1] -
                           gyy * spread[3] - half_js * saved.p_gain;
    const Floats first = lane_floats() - at[0];
    double with_logits = 0;
    for (int64_t y = 0; y < maps.height; ++y) {
        logits.load(maps.logits + map * maps.cells() + y * maps.width, 1, maps.width, NEVER);
        const float dy = static_cast<float>(y) - at[1];
        const float level = constant + (gy + gyy * dy) * dy, slope = gx + gxy * dy;
        const float *targets = HAS_TARGET ? scratch.target_row(maps, y) : nullptr;
        const float weight = HAS_TARGET ? scratch.weight(maps, y) : 0.0f;
        Floats dx = first, row_with_logits{};
        for (int64_t i = 0; i < logits.stride; i += LANES, dx += static_cast<float>(LANES)) {
            const Floats z = (read(&logits.cells[i]) - saved.most) * factor;
            const Floats p = exponential(z) * per_total;
            Floats inner = level + (slope + gxx * dx) * dx;
            const Floats q = HAS_TARGET ? read(targets + i) * weight : Floats{};
            if (HAS_JS) inner += half_js * (largest(z - shift, all(LOG_OF_ZERO)) - log_of((p + q) * 0.5f));
            const Floats d = HAS_TARGET ? p * inner - entropy * q : p * inner;
            if (of_factor) row_with_logits += d * largest(z, all(LOWEST));
            write(&result.cells[i], d * factor);
        }
        copy_row(to + y * maps.width, result.row(0), maps.width);
        if (of_factor) with_logits += sum(row_with_logits);
    }
    // The gradients of all cells sum to that of the logarithm of the total.
    if (of_factor) of_factor[map] = with_logits / factor + saved.most * log_total;
}

}  // namespace

extern "C" {

void softpoint_maps_forward(const float *logits, const float *inverse_temperature, const float *along_y,
                            const float *along_x, const float *dense, int64_t count, int64_t height, int64_t width,
                            int threads, float *log_total, float *mean, float *covariance, float *saved,
                            float *cross_entropy, float *divergence, float *jensen_shannon) {
    const Maps maps{logits, inverse_temperature, along_y, along_x, dense, count, height, width};
    const Outputs out{log_total,     mean,       covariance,     reinterpret_cast<Saved *>(saved),
                      cross_entropy, divergence, jensen_shannon};
    const auto read_map = maps.has_target() ? forward_map<true> : forward_map<false>;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        Scratch scratch;
#pragma omp for schedule(static)
        for (int64_t map = 0; map < count; ++map) read_map(maps, map, out, scratch);
    }
}

void softpoint_maps_backward(const float *logits, const float *inverse_temperature, const float *along_y,
                             const float *along_x, const float *dense, int64_t count, int64_t height, int64_t width,
                             int threads, const float *mean, const float *covariance, const float *saved,
                             const float *of_log_total, const float *of_mean, const float *of_covariance,
                             const float *of_cross_entropy, const float *of_jensen_shannon, float *gradient,
                             float *of_factor) {
    const Maps maps{logits, inverse_temperature, along_y, along_x, dense, count, height, width};
    const Gradients given{of_log_total, of_mean, of_covariance, of_cross_entropy, of_jensen_shannon};
    const bool needs_target = of_cross_entropy || of_jensen_shannon;
    const auto go_back = !needs_target        ? backward_map<false, false>
                         : !of_jensen_shannon ? backward_map<true, false>
                                              : backward_map<true, true>;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        Scratch scratch;
#pragma omp for schedule(static)
        for (int64_t map = 0; map < count; ++map)
            go_back(maps, map, mean, covariance, reinterpret_cast<const Saved *>(saved)[map], given, gradient, of_factor,
                    scratch);
    }
}
}
