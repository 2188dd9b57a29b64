// Reads of logit maps in single precision: see softpoint/functional/map_statistics.py for the mathematics in PyTorch.
//
// Maps are (n, h, w), without gaps. Every pointer but `logits` may be null, and is left out then. A target is given by its
// distributions along both axes (n, h) and (n, w), or by dense maps. Sums of blocks of rows run in single precision, one in
// each lane; the sums of blocks in double precision. Each map is read from memory once: a second pass finds it in the cache.
#include <algorithm>
#include <cmath>
#include <vector>

#include "rows.h"

namespace {

constexpr int64_t BLOCK_ROWS = 16;
constexpr float SMALLEST = 1.17549435e-38f;
constexpr float LOWEST = -std::numeric_limits<float>::max();
// Below the logarithm of any normal number, so that a product with a probability of 0 is 0.
constexpr float LOG_OF_ZERO = -200.0f;
constexpr float LOG_2 = 0.69314718f;

struct Maps {
    const float *logits, *inverse_temperature, *along_y, *along_x, *dense;
    int64_t count, height, width;
    Axis y{height}, x{width};

    int64_t cells() const { return height * width; }
    float factor(int64_t map) const { return inverse_temperature ? inverse_temperature[map] : 1.0f; }
    bool has_target() const { return along_x || dense; }
};

Floats log_of(Floats value) {
    return value < SMALLEST ? all(LOG_OF_ZERO) : logarithm(largest(value, all(SMALLEST)));
}

// Calls body(start, end) for blocks of rows.
template <class Body>
void for_each_block(int64_t height, Body body) {
    for (int64_t y = 0; y < height; y += BLOCK_ROWS) body(y, std::min(y + BLOCK_ROWS, height));
}

// A distribution along one axis.
struct Distribution {
    Rows values;
    std::vector<float> logarithms;         // on request
    double total = 0, negative_entropy = 0;  // with them

    void load_logarithms(const Axis &axis) {
        logarithms.resize(axis.stride);
        Doubles sums{}, products{};
        axis.for_each_vector([&](int64_t i, auto count) {
            const Floats value = read(values.cells + i), log = log_of(value);
            write(&logarithms[i], log);
            sums += wide(count(value)), products += wide(count(value * log));
        });
        total = sum(sums), negative_entropy = sum(products);
    }
};

// The target of one map: dense rows, or those of its distribution along x, times `weight` of the row.
struct Target {
    Rows dense;
    Distribution x, y;
    bool is_dense = false;

    void load(const Maps &maps, int64_t map) {
        is_dense = maps.dense;
        if (is_dense) return dense.load(maps.dense + map * maps.cells(), maps.height, maps.x);
        x.values.load(maps.along_x + map * maps.width, 1, maps.x);
        y.values.load(maps.along_y + map * maps.height, 1, maps.y);
    }

    void load_logarithms(const Maps &maps) {
        if (!is_dense) x.load_logarithms(maps.x), y.load_logarithms(maps.y);
    }

    const float *row(int64_t at) const { return is_dense ? dense.row(at) : x.values.cells; }
    float weight(int64_t at) const { return is_dense ? 1.0f : y.values.cells[at]; }
    float log_weight(int64_t at) const { return is_dense ? 0.0f : y.logarithms[at]; }
};

struct Outputs {
    float *log_total, *mean, *covariance;
    Saved *saved;
    float *cross_entropy, *divergence, *jensen_shannon;
};

// Memory of one thread.
struct Scratch {
    Rows logits;
    Target target;
    std::vector<float> exponentials, gradient;
};

// Half the sums of p (log p - log m) and q (log q - log m) with m = (p + q) / 2; the first sum is needed again.
float jensen_shannon(const Maps &maps, double total, float most, float factor,
                     const Scratch &scratch, float &p_gain) {
    const Target &target = scratch.target;
    const float per_total = 1.0 / total, shift = std::log(total / 2);
    Doubles of_p{}, of_q{};
    for_each_block(maps.height, [&](int64_t start, int64_t end) {
        Floats block_p{}, block_q{};
        for (int64_t y = start; y < end; ++y) {
            const float *logits = scratch.logits.row(y), *e = &scratch.exponentials[y * maps.x.stride];
            const float *targets = target.row(y);
            const float weight = target.weight(y), log_weight = target.log_weight(y) + LOG_2;
            maps.x.for_each_vector([&](int64_t i, auto count) {
                const Floats p = read(e + i) * per_total, q = read(targets + i) * weight;
                const Floats log_p = largest((read(logits + i) - most) * factor - shift, all(LOG_OF_ZERO));
                const Floats log_q = (target.is_dense ? log_of(q) : read(&target.x.logarithms[i])) + log_weight;
                const Floats log_m = logarithm(p + q);  // all logarithms are larger by log 2
                block_p += count(p * (log_p - log_m));
                block_q += count(q * (log_q - log_m));
            });
        }
        of_p += wide(block_p), of_q += wide(block_q);
    });
    p_gain = sum(of_p);
    return 0.5 * (sum(of_p) + sum(of_q));
}

// The sum of q log q over a target.
double negative_entropy(const Maps &maps, const Target &target) {
    if (!target.is_dense)
        return target.x.negative_entropy * target.y.total + target.y.negative_entropy * target.x.total;
    Doubles total{};
    for (int64_t y = 0; y < maps.height; ++y) {
        Floats row{};
        maps.x.for_each_vector([&](int64_t i, auto count) {
            const Floats q = read(target.row(y) + i);
            row += count(q * log_of(q));
        });
        total += wide(row);
    }
    return sum(total);
}

template <bool HAS_TARGET, bool HAS_JS>
void forward_map(const Maps &maps, int64_t map, const Outputs &out, Scratch &scratch) {
    const Rows &logits = scratch.logits;
    scratch.logits.load(maps.logits + map * maps.cells(), maps.height, maps.x);
    const Peak peak = find_peak(logits, maps.height, maps.x);
    const float factor = maps.factor(map);
    if (HAS_TARGET) scratch.target.load(maps, map);
    if (HAS_JS) scratch.exponentials.resize(maps.height * maps.x.stride);
    // Sums of e^(z - max), times powers of the distance from the maximum; of the target and z - max; and of the target.
    Doubles all_total{}, all_x{}, all_y{}, all_xx{}, all_xy{}, all_yy{}, all_products{}, all_weights{};
    const float column = static_cast<float>(peak.column);
    for_each_block(maps.height, [&](int64_t start, int64_t end) {
        Floats total{}, x{}, y{}, xx{}, xy{}, yy{}, products{}, weights{};
        for (int64_t row = start; row < end; ++row) {
            Floats row_total{}, row_x{}, row_products{}, row_weights{};
            const float *values = logits.row(row), *targets = HAS_TARGET ? scratch.target.row(row) : nullptr;
            maps.x.for_each_vector([&](int64_t i, auto count) {
                const Floats z = (read(values + i) - peak.value) * factor;
                Floats e = exponential(z);
                if (HAS_JS) write(&scratch.exponentials[row * maps.x.stride + i], e);
                e = count(e);
                const Floats dx = read(&maps.x.numbers[i]) - column, ex = e * dx;
                row_total += e;
                row_x += ex;
                xx += ex * dx;
                if (!HAS_TARGET) return;
                const Floats q = count(read(targets + i));
                row_products += q * largest(z, all(LOWEST));  // 0 times -inf were NaN
                row_weights += q;
            });
            const float dy = static_cast<float>(row - peak.row);
            const Floats row_y = row_total * dy;
            total += row_total;
            x += row_x;
            y += row_y;
            xy += row_x * dy;
            yy += row_y * dy;
            if (!HAS_TARGET) continue;
            products += row_products * scratch.target.weight(row);
            weights += row_weights * scratch.target.weight(row);
        }
        all_total += wide(total), all_x += wide(x), all_y += wide(y);
        all_xx += wide(xx), all_xy += wide(xy), all_yy += wide(yy);
        if (HAS_TARGET) all_products += wide(products), all_weights += wide(weights);
    });
    const double total = sum(all_total), log_total = std::log(total), per_total = 1.0 / total;
    const double dx = sum(all_x) * per_total, dy = sum(all_y) * per_total;
    out.log_total[map] = static_cast<double>(peak.value) * factor + log_total;
    Saved &saved = out.saved[map];
    saved = {peak.value,
             static_cast<float>(total),
             static_cast<float>(sum(all_weights)),
             0.0f,
             static_cast<float>(per_total),
             peak.least * factor,
             static_cast<int32_t>(peak.row * maps.width + peak.column),
             static_cast<float>(peak.column + dx),
             static_cast<float>(peak.row + dy),
             static_cast<float>(sum(all_xx) * per_total - dx * dx),
             static_cast<float>(sum(all_xy) * per_total - dx * dy),
             static_cast<float>(sum(all_yy) * per_total - dy * dy)};
    out.mean[2 * map] = saved.x, out.mean[2 * map + 1] = saved.y;
    float *covariance = out.covariance + 4 * map;
    covariance[0] = saved.xx, covariance[1] = covariance[2] = saved.xy, covariance[3] = saved.yy;
    if (!HAS_TARGET) return;
    if (out.divergence || HAS_JS) scratch.target.load_logarithms(maps);
    const double cross_entropy = sum(all_weights) * log_total - sum(all_products);
    if (out.cross_entropy) out.cross_entropy[map] = cross_entropy;
    if (out.divergence) out.divergence[map] = cross_entropy + negative_entropy(maps, scratch.target);
    if (HAS_JS)
        out.jensen_shannon[map] = jensen_shannon(maps, total, peak.value, factor, scratch, saved.p_gain);
}

struct Gradients {
    const float *log_total, *mean, *covariance, *cross_entropy, *jensen_shannon;

    static float at(const float *values, int64_t index) { return values ? values[index] : 0.0f; }
};

// Coefficients of the gradient of one map: p (constant + gx dx + gy dy + gxx dx^2 + ...) less `entropy` times the target.
template <bool HAS_TARGET, bool HAS_JS>
void backward_map(const Maps &maps, int64_t map, const Saved &saved, const Gradients &given, float *gradient, float *of_factor, Scratch &scratch) {
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
    scratch.logits.load(maps.logits + map * maps.cells(), maps.height, maps.x);
    if (HAS_TARGET) scratch.target.load(maps, map);
    scratch.gradient.resize(maps.x.is_short() ? maps.x.stride : 0);  // of a row
    const float factor = maps.factor(map), per_total = 1.0f / saved.total, shift = std::log(saved.total / 2);
    const float constant = log_total + entropy * saved.target_total - gxx * saved.xx - gxy * saved.xy -
                           gyy * saved.yy - half_js * saved.p_gain;
    Doubles with_logits{};
    for (int64_t y = 0; y < maps.height; ++y) {
        const float *values = scratch.logits.row(y), *targets = HAS_TARGET ? scratch.target.row(y) : nullptr;
        // The spare lanes of a short row are written over by the next rows.
        const bool fits = y * maps.width + maps.x.stride <= maps.cells();
        float *row = fits ? to + y * maps.width : scratch.gradient.data();
        const float dy = static_cast<float>(y) - saved.y;
        const float level = constant + (gy + gyy * dy) * dy, slope = gx + gxy * dy;
        const float weight = HAS_TARGET ? scratch.target.weight(y) : 0.0f, level_of_target = entropy * weight;
        Floats row_with_logits{};
        maps.x.for_each_vector([&](int64_t i, auto count) {
            const Floats z = (read(values + i) - saved.most) * factor, dx = read(&maps.x.numbers[i]) - saved.x;
            const Floats p = exponential(z) * per_total;
            const Floats q = HAS_TARGET ? read(targets + i) : Floats{};
            Floats inner = level + (slope + gxx * dx) * dx;
            if (HAS_JS)
                inner += half_js * (largest(z - shift, all(LOG_OF_ZERO)) - logarithm(p + q * weight));
            const Floats d = HAS_TARGET ? p * inner - level_of_target * q : p * inner;
            if (of_factor) row_with_logits += count(d * largest(z, all(LOWEST)));
            write(row + i, d * factor);
        });
        if (!fits) std::copy_n(row, maps.width, to + y * maps.width);
        if (of_factor) with_logits += wide(row_with_logits);
    }
    // The gradients of all cells sum to that of the logarithm of the total.
    if (of_factor) of_factor[map] = sum(with_logits) / factor + saved.most * log_total;
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
    const auto read_map = !maps.has_target() ? forward_map<false, false>
                          : !jensen_shannon  ? forward_map<true, false>
                                             : forward_map<true, true>;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        Scratch scratch;
#pragma omp for schedule(static)
        for (int64_t map = 0; map < count; ++map) read_map(maps, map, out, scratch);
    }
}

void softpoint_maps_backward(const float *logits, const float *inverse_temperature, const float *along_y,
                             const float *along_x, const float *dense, int64_t count, int64_t height, int64_t width,
                             int threads, const float *saved, const float *of_log_total, const float *of_mean,
                             const float *of_covariance, const float *of_cross_entropy, const float *of_jensen_shannon,
                             float *gradient, float *of_factor) {
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
            go_back(maps, map, reinterpret_cast<const Saved *>(saved)[map], given, gradient, of_factor, scratch);
    }
}
}
