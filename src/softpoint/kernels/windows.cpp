// Positions read from the window about the maximum of each map, in single precision: see softpoint/functional/gaussian_fit.py
// for the mathematics in PyTorch. A lane of a vector is a map, so that nothing is summed across lanes.
#include <cmath>

#include "rows.h"

namespace {

constexpr float NEGLIGIBLE = 1e-12f;

struct Maps {
    const float *values;
    int64_t count, height, width;
    const Saved *saved;  // of logits; heatmaps have none
};

inline Floats at_least(Floats value, float bound) { return largest(all(bound), value); }

inline Floats at_most(Floats value, float bound) { return least(all(bound), value); }

inline Floats between(Floats value, Floats low, Floats high) { return largest(least(value, high), low); }

// The parabola a + b t + c (t^2 - skew t - spread) with t = x - mean, of functional/parabola.py.
struct Parabola {
    Floats mean, spread, skew, a, b, c, power, noise;

    Floats height(Floats x) const {
        const Floats t = x - mean;
        return a + b * t + c * (t * (t - skew) - spread);
    }
};

// 1, or less where the divisor is as small as rounding.
inline Floats trust(Floats power) {
    const Floats square = (power * 1e7f) * (power * 1e7f);
    return square / (square + 1.0f);
}

// Sums of a window along one axis, above the lowest value and with a total of 1, and the number of cells in each.
struct Marginal {
    std::vector<Floats> mass, terms, model, weight, log_mass;
    Floats first, last;  // offsets of the outermost cells of the map from the maximum

    void clear(int64_t length) {
        for (auto *values : {&mass, &terms, &model, &weight, &log_mass}) values->assign(length, Floats{});
    }

    int64_t length() const { return mass.size(); }
    Floats cell(int64_t i) const { return all(static_cast<float>(i - length() / 2)); }

    // `share` of the lowest value is no floor; `total` is what the masses add up to with it.
    Parabola fit(Floats share, Floats total, bool modeled) {
        Floats of_weight{}, mean{};
        for (int64_t i = 0; i < length(); ++i) {
            const Floats here = (mass[i] + terms[i] * share) / total;
            weight[i] = modeled ? here * model[i] / at_least(here + model[i], NEGLIGIBLE) : here;
            log_mass[i] = logarithm(at_least(here, NEGLIGIBLE));
            of_weight += weight[i];
        }
        const Floats per_weight = 1.0f / at_least(of_weight, 1e-6f);
        for (int64_t i = 0; i < length(); ++i) {
            weight[i] *= per_weight;
            mean += weight[i] * cell(i);
        }
        Floats spread{}, third{}, a{}, b{}, squares{};
        for (int64_t i = 0; i < length(); ++i) {
            const Floats t = cell(i) - mean, moment = weight[i] * t;
            spread += moment * t;
            third += moment * t * t;
            a += weight[i] * log_mass[i];
            b += moment * log_mass[i];
            squares += weight[i] * weight[i];
        }
        const Floats per_spread = 1.0f / at_least(spread, 1e-6f), skew = third * per_spread;
        b *= per_spread;
        Floats power{}, c{};
        for (int64_t i = 0; i < length(); ++i) {
            const Floats t = cell(i) - mean, square = t * (t - skew) - spread;
            power += weight[i] * square * square;
            c += weight[i] * square * log_mass[i];
        }
        c *= trust(power) / at_least(power, 1e-8f);
        Parabola fitted{mean, spread, skew, a, b, c, power, Floats{}};
        Floats residual{};
        for (int64_t i = 0; i < length(); ++i) {
            const Floats height = fitted.height(cell(i)), missing = log_mass[i] - height;
            residual += weight[i] * missing * missing;
            model[i] = terms[i] > 0.0f ? exponential(at_most(height, 0.0f)) : Floats{};
        }
        fitted.noise = residual * squares;
        return fitted;
    }

    Floats position(const Parabola &fitted) const {
        const float reach = 0.75f * length(), radius = length() / 2;
        const Floats sharpness = fitted.c * (-2.0f * reach * reach);
        const Floats step = fitted.skew * 0.5f + fitted.b * (reach * reach) / at_least(sharpness, 1.0f);
        const Floats signal = fitted.c * fitted.c * fitted.power, trusted = trust(fitted.power);
        const Floats shrinkage = trusted * trusted * signal / at_least(signal + fitted.noise, NEGLIGIBLE);
        const Floats top = fitted.mean + step * at_most(at_least(sharpness, 0.0f), 1.0f) * shrinkage;
        return between(top, at_least(first, -radius) - 0.5f, at_most(last, radius) + 0.5f) - first;
    }
};

struct Window {
    Marginal x, y;
    std::vector<Floats> cells;
    Rows heatmap;

    // Reads the windows of up to LANES maps; `inside` is the mass in them.
    void read_maps(const Maps &maps, const Axis &axis, int64_t start, int64_t side, Floats &at_x, Floats &at_y,
                   Floats &inside) {
        const int64_t of_y = std::min(side / 2, maps.height - 1), of_x = std::min(side / 2, maps.width - 1);
        const int64_t rows = 2 * of_y + 1, columns = 2 * of_x + 1, length = std::max(rows, columns);
        x.clear(length), y.clear(length), cells.resize(rows * columns);
        Floats lowest{}, share = all(1.0f);
        for (int lane = 0; lane < LANES; ++lane) {
            const int64_t map = std::min(start + lane, maps.count - 1);
            const float *values = maps.values + map * maps.height * maps.width;
            int64_t row, column;
            float top = 0;
            if (maps.saved) {
                const Saved &saved = maps.saved[map];
                row = saved.peak / maps.width, column = saved.peak % maps.width;
                top = saved.most, share[lane] = saved.share, lowest[lane] = saved.least - top;
            } else {
                heatmap.load(values, maps.height, axis);
                const Peak peak = find_peak(heatmap, maps.height, axis);
                row = peak.row, column = peak.column, lowest[lane] = peak.least;
                if (holds_nan(values, maps.height * maps.width)) lowest[lane] = std::numeric_limits<float>::quiet_NaN();
            }
            x.first[lane] = -column, x.last[lane] = maps.width - 1 - column;
            y.first[lane] = -row, y.last[lane] = maps.height - 1 - row;
            for (int64_t i = 0; i < rows; ++i)
                for (int64_t j = 0; j < columns; ++j) {
                    const int64_t dy = std::clamp(row + i - of_y, int64_t{0}, maps.height - 1);
                    const int64_t dx = std::clamp(column + j - of_x, int64_t{0}, maps.width - 1);
                    cells[i * columns + j][lane] = values[dy * maps.width + dx] - top;
                }
        }
        if (maps.saved) {
            lowest = exponential(lowest) * share;
            for (Floats &cell : cells) cell = exponential(cell) * share;
        }
        Floats total{}, terms_x{}, terms_y{};
        const int64_t spare_x = (length - columns) / 2, spare_y = (length - rows) / 2;
        for (int64_t j = 0; j < columns; ++j) terms_x += is_inside(x, j - of_x);
        for (int64_t i = 0; i < rows; ++i) terms_y += is_inside(y, i - of_y);
        for (int64_t i = 0; i < rows; ++i) {
            const Floats row_inside = is_inside(y, i - of_y);
            y.terms[i + spare_y] = row_inside * terms_x;
            for (int64_t j = 0; j < columns; ++j) {
                const Floats above = (cells[i * columns + j] - lowest) * row_inside * is_inside(x, j - of_x);
                x.mass[j + spare_x] += above;
                y.mass[i + spare_y] += above;
                total += above;
            }
        }
        for (int64_t j = 0; j < columns; ++j) x.terms[j + spare_x] = is_inside(x, j - of_x) * terms_y;
        const Floats count = terms_x * terms_y;
        inside = total + lowest * count;
        const Ints is_number = inside == inside;
        total = total > 0.0f ? total : all(1.0f);
        lowest /= total;
        for (Floats &mass : x.mass) mass /= total;
        for (Floats &mass : y.mass) mass /= total;
        fit_position(lowest, count, at_x, at_y);
        const Floats nothing = all(std::numeric_limits<float>::quiet_NaN());
        at_x = is_number ? at_x : nothing, at_y = is_number ? at_y : nothing;
    }

  private:
    static bool holds_nan(const float *values, int64_t count) {
        bool found = false;
        for (int64_t i = 0; i < count; ++i) found |= values[i] != values[i];
        return found;
    }

    static Floats is_inside(const Marginal &axis, int64_t offset) {
        const Floats here = all(static_cast<float>(offset));
        return here >= axis.first && here <= axis.last ? all(1.0f) : Floats{};
    }

    void fit_position(Floats lowest, Floats count, Floats &at_x, Floats &at_y) {
        Parabola of_x = x.fit(Floats{}, all(1.0f), false), of_y = y.fit(Floats{}, all(1.0f), false);
        const Floats once = lowest_of_fit(of_x, of_y, lowest, all(1.0f));
        const Floats with_once = count * once + 1.0f;
        of_x = x.fit(once, with_once, true), of_y = y.fit(once, with_once, true);
        // The limit of the series 0, once, twice, ... if its steps shrink by a constant ratio (Aitken's extrapolation).
        const Floats twice = lowest_of_fit(of_x, of_y, lowest, with_once);
        const Floats ratio = at_most(at_least((twice - once) * once / at_least(once * once, NEGLIGIBLE), 0.0f), 0.9f);
        const Floats limit = least(at_least(twice + (twice - once) * ratio / (1.0f - ratio), 0.0f), lowest);
        const Floats with_limit = count * limit + 1.0f;
        of_x = x.fit(limit, with_limit, true), of_y = y.fit(limit, with_limit, true);
        at_x = x.position(of_x), at_y = y.position(of_y);
    }

    Floats lowest_of_fit(const Parabola &of_x, const Parabola &of_y, Floats lowest, Floats total) const {
        const Floats ends = least(of_x.height(x.first), of_x.height(x.last)) +
                            least(of_y.height(y.first), of_y.height(y.last));
        return least(total * exponential(at_most(ends, 0.0f)), lowest);
    }
};

}  // namespace

extern "C" void softpoint_windows(const float *values, const float *saved, int64_t count, int64_t height, int64_t width,
                                  int threads, int64_t side, float *position, float *mass) {
    const Maps maps{values, count, height, width, reinterpret_cast<const Saved *>(saved)};
    const Axis axis(width);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        Window window;
#pragma omp for schedule(static)
        for (int64_t start = 0; start < count; start += LANES) {
            Floats x, y, inside;
            window.read_maps(maps, axis, start, side, x, y, inside);
            for (int64_t map = start; map < std::min<int64_t>(start + LANES, count); ++map) {
                position[2 * map] = x[map - start], position[2 * map + 1] = y[map - start];
                mass[map] = inside[map - start];
            }
        }
    }
}
