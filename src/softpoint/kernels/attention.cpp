// The memory-bound parts of spatial attention in single precision; see softpoint/functional/attention.py for the
// mathematics in PyTorch.
//
// Features are (images, channels, pixels), or (images, pixels, channels) where channels are last. Statistics are
// (images, 2, pixels): the mean and the maximum over channels. NaN is larger than any number, as it is in PyTorch.
#include <algorithm>
#include <vector>

#include "vectors.h"

namespace {

// Pixels whose sums stay in the cache while channels are read, and channels whose sums stay in registers.
constexpr int64_t STRIP = 1024, BLOCK = 8;

struct Features {
    int64_t images, channels, pixels;

    int64_t strips() const { return (pixels + STRIP - 1) / STRIP; }
};

// Vectors of a strip of pixels, of which the last may overlap the one before, or be a part of one.
struct Strip {
    int64_t image, start, count;

    Strip(const Features &of, int64_t number)
        : image(number / of.strips()),
          start(number % of.strips() * STRIP),
          count(std::min(STRIP, of.pixels - start)) {}
    int64_t vectors() const { return (count + LANES - 1) / LANES; }
    int64_t width() const { return std::min<int64_t>(LANES, count); }
    int64_t at(int64_t vector) const { return start + std::max<int64_t>(std::min(vector * LANES, count - LANES), 0); }
};

inline Floats read_width(const float *from, int64_t width) {
    return width == LANES ? read(from) : read_part(from, width, 0.0f);
}

template <class Vector>
inline void write_width(void *to, const Vector &value, int64_t width) {
    if (width == LANES)
        std::memcpy(to, &value, sizeof value);
    else
        std::memcpy(to, &value, width * sizeof(float));
}

inline Ints is_larger(Floats value, Floats most) { return (value > most) | ((value != value) & (most == most)); }

void read_strip(const Features &of, const Strip &strip, const float *x, float *statistics, int32_t *channel) {
    Floats total[STRIP / LANES], most[STRIP / LANES];
    Ints where[STRIP / LANES];
    x += strip.image * of.channels * of.pixels;
    const int64_t width = strip.width();
    for (int64_t first = 0; first < of.channels; first += BLOCK) {
        const int64_t end = std::min(first + BLOCK, of.channels);
        for (int64_t i = 0; i < strip.vectors(); ++i) {
            const float *from = x + first * of.pixels + strip.at(i);
            Floats sums{}, largest = first ? most[i] : read_width(from, width);
            Ints found = first ? where[i] : Ints{};
            for (int64_t c = first; c < end; ++c, from += of.pixels) {
                const Floats value = read_width(from, width);
                const Ints larger = is_larger(value, largest);
                sums += value;
                largest = larger ? value : largest;
                found = larger ? Ints{} + static_cast<int32_t>(c) : found;
            }
            total[i] = first ? total[i] + sums : sums;
            most[i] = largest, where[i] = found;
        }
    }
    statistics += strip.image * 2 * of.pixels, channel += strip.image * of.pixels;
    for (int64_t i = 0; i < strip.vectors(); ++i) {
        const int64_t at = strip.at(i);
        write_width(statistics + at, total[i] / static_cast<float>(of.channels), width);
        write_width(statistics + of.pixels + at, most[i], width);
        write_width(channel + at, where[i], width);
    }
}

void read_pixel(const float *x, int64_t channels, float &mean, float &most, int32_t &channel) {
    Floats total{}, largest = all(x[0]);
    Ints where{}, number{};
    int64_t c = 0;
    for (; c + LANES <= channels; c += LANES, number += 1) {
        const Floats value = read(x + c);
        const Ints larger = c ? is_larger(value, largest) : ~Ints{};
        total += value;
        largest = larger ? value : largest;
        where = larger ? number : where;
    }
    double sums = sum(total);
    most = x[0], channel = 0;
    const auto take = [&](float value, int32_t here) {
        const bool equal = value == most || (value != value && most != most);
        if (value > most || (value != value && most == most) || (equal && here < channel)) most = value, channel = here;
    };
    for (int lane = 0; c && lane < LANES; ++lane) take(largest[lane], where[lane] * LANES + lane);
    for (; c < channels; ++c) sums += x[c], take(x[c], c);
    mean = sums / channels;
}

// to = x factor + constant
inline void scale_row(float *to, const float *x, float factor, float constant, int64_t count) {
    if (count < LANES) {
        for (int64_t i = 0; i < count; ++i) to[i] = x[i] * factor + constant;
        return;
    }
    for (int64_t i = 0; i + LANES <= count; i += LANES) write(to + i, read(x + i) * factor + constant);
    write(to + count - LANES, read(x + count - LANES) * factor + constant);
}

float inner_product(const float *a, const float *b, int64_t count) {
    Floats total{};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) total += read(a + i) * read(b + i);
    double sums = sum(total);
    for (; i < count; ++i) sums += a[i] * b[i];
    return sums;
}

void multiply_strip(const Features &of, const Strip &strip, const float *x, const float *mask, float *y) {
    mask += strip.image * of.pixels + strip.start;
    for (int64_t c = 0; c < of.channels; ++c) {
        const int64_t first = (strip.image * of.channels + c) * of.pixels + strip.start;
        const float *from = x + first;
        float *__restrict to = y + first;
        for (int64_t i = 0; i < strip.count; ++i) to[i] = from[i] * mask[i];
    }
}

// The gradient of the mask: the sum over channels of x times the gradient of the product.
void reduce_strip(const Features &of, const Strip &strip, const float *x, const float *of_y, float *of_mask) {
    float total[STRIP] = {}, sums[STRIP];
    const int64_t first = strip.image * of.channels * of.pixels + strip.start, count = strip.count;
    for (int64_t start = 0; start < of.channels; start += 4 * BLOCK) {
        std::fill_n(sums, count, 0.0f);
        for (int64_t c = start; c < std::min(start + 4 * BLOCK, of.channels); ++c) {
            const float *a = x + first + c * of.pixels, *b = of_y + first + c * of.pixels;
            for (int64_t i = 0; i < count; ++i) sums[i] += a[i] * b[i];
        }
        for (int64_t i = 0; i < count; ++i) total[i] += sums[i];
    }
    std::copy_n(total, count, of_mask + strip.image * of.pixels + strip.start);
}

// The gradient of features, of which each pointer but the last may be null.
struct Gradient {
    const float *of_y, *mask, *of_statistics;
    const int32_t *channel;
    float *of_x;
};

template <bool HAS_Y>
void spread_strip(const Features &of, const Strip &strip, const Gradient &given) {
    float constant[STRIP] = {}, of_most[STRIP] = {}, mask[STRIP];
    int32_t where[STRIP];
    const int64_t pixel = strip.image * of.pixels + strip.start, count = strip.count;
    std::copy_n(given.channel + pixel, count, where);
    if (HAS_Y) std::copy_n(given.mask + pixel, count, mask);
    if (given.of_statistics) {
        const float *of_mean = given.of_statistics + pixel + strip.image * of.pixels;
        for (int64_t i = 0; i < count; ++i) constant[i] = of_mean[i] / of.channels, of_most[i] = of_mean[of.pixels + i];
    }
    for (int32_t c = 0; c < of.channels; ++c) {
        const int64_t first = (strip.image * of.channels + c) * of.pixels + strip.start;
        const float *of_y = HAS_Y ? given.of_y + first : nullptr;
        float *__restrict of_x = given.of_x + first;
        for (int64_t i = 0; i < count; ++i) {
            const float value = constant[i] + (where[i] == c ? of_most[i] : 0.0f);
            of_x[i] = HAS_Y ? of_y[i] * mask[i] + value : value;
        }
    }
}

void spread_pixel(const Features &of, int64_t pixel, const Gradient &given) {
    const int64_t cell = pixel * of.channels;
    float constant = 0, of_most = 0;
    if (given.of_statistics) {
        const float *of_mean = given.of_statistics + pixel / of.pixels * 2 * of.pixels + pixel % of.pixels;
        constant = of_mean[0] / of.channels, of_most = of_mean[of.pixels];
    }
    if (given.of_y)
        scale_row(given.of_x + cell, given.of_y + cell, given.mask[pixel], constant, of.channels);
    else
        std::fill_n(given.of_x + cell, of.channels, constant);
    given.of_x[cell + given.channel[pixel]] += of_most;
}

// Calls a function with the number of each strip, or of each pixel where channels are last, by several threads.
template <class OfStrip, class OfPixel>
void for_all(const Features &of, bool channels_last, int threads, OfStrip of_strip, OfPixel of_pixel) {
    const int64_t count = of.images * (channels_last ? of.pixels : of.strips());
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t number = 0; number < count; ++number)
        if (channels_last)
            of_pixel(number);
        else
            of_strip(Strip(of, number));
}

// A convolution of some maps to one of the same size, with an odd, square kernel.
struct Convolution {
    int64_t images, channels, height, width, side, dilation;

    int64_t pixels() const { return height * width; }
    int64_t padding() const { return dilation * (side / 2); }
};

constexpr int64_t TILE_ROWS = 4, TILE_VECTORS = 2, TILE_WIDTH = TILE_VECTORS * LANES, BLOCK_ROWS = 16;

// Maps with zeros around them, and after them up to whole tiles.
struct PaddedMaps {
    int64_t height, width, padding, stride, plane;
    std::vector<float> cells;

    PaddedMaps(const Convolution &of, int64_t count)
        : height(of.height),
          width(of.width),
          padding(of.padding()),
          stride((width + TILE_WIDTH - 1) / TILE_WIDTH * TILE_WIDTH + 2 * padding),
          plane(((height + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS + 2 * padding) * stride),
          cells(count * plane) {}

    void load(const float *maps) {
        for (int64_t start = 0; start < static_cast<int64_t>(cells.size()); start += plane)
            for (int64_t y = 0; y < height; ++y, maps += width)
                std::copy_n(maps, width, &cells[start + (y + padding) * stride + padding]);
    }

    // The cell by which the tap at a kernel's corner multiplies.
    const float *corner(int64_t map, int64_t y, int64_t x) const { return &cells[map * plane + y * stride + x]; }
    const float *cell(int64_t map, int64_t y, int64_t x) const { return corner(map, y + padding, x + padding); }
};

// The correlation of maps with kernels (channels, side, side), read backward by a step of -1; to one map.
void correlate(const Convolution &of, const PaddedMaps &maps, int64_t channels, const float *kernel, int step, float *to) {
    float tile[TILE_ROWS * TILE_WIDTH];
    for (int64_t y = 0; y < of.height; y += TILE_ROWS)
        for (int64_t x = 0; x < of.width; x += TILE_WIDTH) {
            Floats sums[TILE_ROWS][TILE_VECTORS] = {};
            const float *weight = kernel;
            for (int64_t c = 0; c < channels; ++c)
                for (int64_t u = 0; u < of.side; ++u) {
                    const float *from = maps.corner(c, y + u * of.dilation, x);
                    for (int64_t v = 0; v < of.side; ++v, weight += step, from += of.dilation)
                        for (int row = 0; row < TILE_ROWS; ++row)
                            for (int i = 0; i < TILE_VECTORS; ++i)
                                sums[row][i] += read(from + row * maps.stride + i * LANES) * *weight;
                }
            std::memcpy(tile, sums, sizeof tile);
            const int64_t width = std::min(TILE_WIDTH, of.width - x);
            for (int64_t row = 0; row < std::min(TILE_ROWS, of.height - y); ++row)
                std::copy_n(tile + row * TILE_WIDTH, width, to + (y + row) * of.width + x);
        }
}

// The gradients of some taps next to each other in a row of a kernel.
template <int TAPS>
void correlate_taps(const Convolution &of, const PaddedMaps &maps, const PaddedMaps &gradient, int64_t channel, int64_t u,
                    int64_t v, double *to) {
    Floats total[TAPS] = {};
    for (int64_t start = 0; start < of.height; start += BLOCK_ROWS) {
        Floats sums[TAPS] = {};
        for (int64_t y = start; y < std::min(start + BLOCK_ROWS, of.height); ++y) {
            const float *given = gradient.cell(0, y, 0);
            const float *from = maps.corner(channel, y + u * of.dilation, v * of.dilation);
            for (int64_t x = 0; x < of.width; x += LANES) {
                const Floats slope = read(given + x);
                for (int tap = 0; tap < TAPS; ++tap) sums[tap] += slope * read(from + x + tap * of.dilation);
            }
        }
        for (int tap = 0; tap < TAPS; ++tap) total[tap] += sums[tap];
    }
    for (int tap = 0; tap < TAPS; ++tap) to[tap] = sum(total[tap]);
}

// The gradients of all taps, by one image.
void correlate_with_gradient(const Convolution &of, const PaddedMaps &maps, const PaddedMaps &gradient, double *to) {
    for (int64_t c = 0; c < of.channels; ++c)
        for (int64_t u = 0; u < of.side; ++u)
            for (int64_t v = 0; v < of.side;) {
                const int64_t left = of.side - v, taps = left >= 7 ? 7 : left >= 3 ? 3 : 1;
                const auto add = taps == 7 ? correlate_taps<7> : taps == 3 ? correlate_taps<3> : correlate_taps<1>;
                add(of, maps, gradient, c, u, v, to);
                v += taps, to += taps;
            }
}

}  // namespace

extern "C" {

void softpoint_channels_read(int64_t images, int64_t channels, int64_t pixels, int64_t channels_last, int threads,
                             const float *x, float *statistics, int32_t *channel) {
    const Features of{images, channels, pixels};
    for_all(
        of, channels_last, threads, [&](const Strip &strip) { read_strip(of, strip, x, statistics, channel); },
        [&](int64_t pixel) {
            float *mean = statistics + pixel / pixels * 2 * pixels + pixel % pixels;
            read_pixel(x + pixel * channels, channels, mean[0], mean[pixels], channel[pixel]);
        });
}

void softpoint_channels_multiply(int64_t images, int64_t channels, int64_t pixels, int64_t channels_last, int threads,
                                 const float *x, const float *mask, float *y) {
    const Features of{images, channels, pixels};
    for_all(
        of, channels_last, threads, [&](const Strip &strip) { multiply_strip(of, strip, x, mask, y); },
        [&](int64_t pixel) { scale_row(y + pixel * channels, x + pixel * channels, mask[pixel], 0.0f, channels); });
}

void softpoint_channels_reduce(int64_t images, int64_t channels, int64_t pixels, int64_t channels_last, int threads,
                               const float *x, const float *of_y, float *of_mask) {
    const Features of{images, channels, pixels};
    for_all(
        of, channels_last, threads, [&](const Strip &strip) { reduce_strip(of, strip, x, of_y, of_mask); },
        [&](int64_t pixel) {
            of_mask[pixel] = inner_product(x + pixel * channels, of_y + pixel * channels, channels);
        });
}

void softpoint_channels_spread(int64_t images, int64_t channels, int64_t pixels, int64_t channels_last, int threads,
                               const float *of_y, const float *mask, const float *of_statistics, const int32_t *channel,
                               float *of_x) {
    const Features of{images, channels, pixels};
    const Gradient given{of_y, mask, of_statistics, channel, of_x};
    for_all(
        of, channels_last, threads,
        [&](const Strip &strip) {
            of_y ? spread_strip<true>(of, strip, given) : spread_strip<false>(of, strip, given);
        },
        [&](int64_t pixel) { spread_pixel(of, pixel, given); });
}

void softpoint_convolve(int64_t images, int64_t channels, int64_t height, int64_t width, int64_t side, int64_t dilation,
                        int threads, const float *x, const float *weight, float *y) {
    const Convolution of{images, channels, height, width, side, dilation};
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        PaddedMaps maps(of, channels);
#pragma omp for schedule(static)
        for (int64_t image = 0; image < images; ++image) {
            maps.load(x + image * channels * of.pixels());
            correlate(of, maps, channels, weight, 1, y + image * of.pixels());
        }
    }
}

void softpoint_convolve_backward(int64_t images, int64_t channels, int64_t height, int64_t width, int64_t side,
                                 int64_t dilation, int threads, const float *x, const float *weight, const float *of_y,
                                 float *of_x, float *of_weight) {
    const Convolution of{images, channels, height, width, side, dilation};
    const int64_t taps = side * side;
    std::vector<double> of_taps(images * channels * taps);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        PaddedMaps maps(of, channels), gradient(of, 1);
#pragma omp for schedule(static)
        for (int64_t image = 0; image < images; ++image) {
            gradient.load(of_y + image * of.pixels());
            for (int64_t c = 0; of_x && c < channels; ++c)
                correlate(of, gradient, 1, weight + (c + 1) * taps - 1, -1, of_x + (image * channels + c) * of.pixels());
            if (!of_weight) continue;
            maps.load(x + image * channels * of.pixels());
            correlate_with_gradient(of, maps, gradient, &of_taps[image * channels * taps]);
        }
    }
    for (int64_t tap = 0; of_weight && tap < channels * taps; ++tap) {
        double total = 0;
        for (int64_t image = 0; image < images; ++image) total += of_taps[image * channels * taps + tap];
        of_weight[tap] = total;
    }
}
}
