// Everything a frame needs on the GPU besides the engine: cut tiles, put scores together, find defects.
//
// Scores become a mask of one bit per pixel; words of 32 px then carry the morphology and the labelling, so that an empty map
// costs little more than reading it. Labels are the index of a component's first pixel in reading order (y * pitch + x), joined
// by atomic minima (union-find after Komura 2015 and Playne & Hawick 2018): the result does not depend on the order of threads.
// Nothing here needs shared memory or barriers, so the same file compiles for a processor, one thread after another.
//
// A thread finds its place with gridDim x blockDim along x; y and z count rows, tiles or classes exactly.

#ifdef JETSPECT_HOST
#include "host_cuda.h"
#else
#include <cuda_fp16.h>
#endif

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifndef JETSPECT_HOST
// Labels change under the threads that follow them: read and write them in memory, not in a register.
static __device__ u32 load(const u32* place) { return *(const volatile u32*)place; }
static __device__ void store(u32* place, u32 value) { *(volatile u32*)place = value; }
#endif

// A root's label while it is counted: this bit and its place in the table of statistics.
#define NUMBERED 0x80000000u
#define NO_PLACE 0x7fffffffu
// Words of 32 px that one thread sums up before it touches the table.
#define STRIP 8

struct Stats {
    u64 sum_x, sum_y, sum_score;
    u32 root, area;
    u32 x0, y0, x1, y1;  // half-open
    u32 peak, unused;
};

// A component to be drawn, and where among the bitmaps.
struct Drawing {
    u32 root, x0, y0, x1, y1, place;
};

static __device__ int thread_x() { return blockIdx.x * blockDim.x + threadIdx.x; }

// Copy n bytes, up to 16; in one go where both places allow it.
static __device__ void copy(u8* out, const u8* in, int n) {
    size_t places = (size_t)in | (size_t)out;
    if (n == 16 && places % 16 == 0) {
        *(uint4*)out = *(const uint4*)in;
    } else if (n % 4 == 0 && places % 4 == 0) {
        for (int i = 0; i < n; i += 4) *(u32*)(out + i) = *(const u32*)(in + i);
    } else {
        for (int i = 0; i < n; i++) out[i] = in[i];
    }
}

// ---- tiles ----------------------------------------------------------------------------------------------------------------

// Where cv2.BORDER_REFLECT_101 looks for a place beyond the last of n.
static __device__ int reflect(int i, int n) {
    if (n == 1) return 0;
    while (i < 0 || i >= n) i = i < 0 ? -i : 2 * n - 2 - i;
    return i;
}

// One channel of one pixel as the model wants it; grey from colour as OpenCV rounds it.
static __device__ u8 sample(const u8* pixel, int channels_in, int channels_out, int channel) {
    if (channels_in == channels_out) return pixel[channel];
    if (channels_in == 1) return pixel[0];
    return (u8)((pixel[0] * 3735 + pixel[1] * 19235 + pixel[2] * 9798 + (1 << 14)) >> 15);
}

// frame: height x width x channels_in; origins: y, x per tile; tiles: N x tile_h x tile_w x channels. x: 16 bytes of a row, z: tile.
extern "C" __global__ void gather_tiles(const u8* frame, int height, int width, int channels_in, const int* origins, u8* tiles,
                                        int tile_h, int tile_w, int channels) {
    int row_bytes = tile_w * channels, chunks = (row_bytes + 15) / 16;
    int index = thread_x();
    if (index >= tile_h * chunks) return;
    int y = index / chunks, first = (index % chunks) * 16, last = min(first + 16, row_bytes);
    int top = origins[2 * blockIdx.z], left = origins[2 * blockIdx.z + 1];
    u8* out = tiles + ((size_t)blockIdx.z * tile_h + y) * row_bytes;
    int rows = min(tile_h, height - top), columns = min(tile_w, width - left);
    const u8* in = frame + ((size_t)(top + reflect(y, rows)) * width + left) * channels_in;
    if (channels_in == channels && last <= columns * channels) {
        copy(out + first, in + first, last - first);
        return;
    }
    for (int i = first; i < last; i++) {
        int x = reflect(i / channels, columns);
        out[i] = sample(in + (size_t)x * channels_in, channels_in, channels, i % channels);
    }
}

static __device__ void put(float* out, float value) { *out = value; }
static __device__ void put(__half* out, float value) { *out = __float2half_rn(value); }

template <typename T>
static __device__ void gather_planes(const u8* frame, int height, int width, int channels_in, const int* origins, T* tiles,
                                     int tile_h, int tile_w, int channels, int rgb, const float* mean, const float* std) {
    int index = thread_x();
    if (index >= tile_h * tile_w) return;
    int top = origins[2 * blockIdx.z], left = origins[2 * blockIdx.z + 1];
    int y = reflect(index / tile_w, min(tile_h, height - top)), x = reflect(index % tile_w, min(tile_w, width - left));
    const u8* pixel = frame + ((size_t)(top + y) * width + left + x) * channels_in;
    T* out = tiles + (size_t)blockIdx.z * channels * tile_h * tile_w + index;
    for (int c = 0; c < channels; c++) {
        float value = (float)sample(pixel, channels_in, channels, rgb ? channels - 1 - c : c);
        put(out + (size_t)c * tile_h * tile_w, __fdiv_rn(__fsub_rn(value, mean[c]), std[c]));
    }
}

// For engines that were not made by jetspect: N x C x tile_h x tile_w of (value - mean) / std, colour as BGR or RGB.
extern "C" __global__ void gather_f32(const u8* frame, int height, int width, int channels_in, const int* origins, float* tiles,
                                      int tile_h, int tile_w, int channels, int rgb, const float* mean, const float* std) {
    gather_planes(frame, height, width, channels_in, origins, tiles, tile_h, tile_w, channels, rgb, mean, std);
}

extern "C" __global__ void gather_f16(const u8* frame, int height, int width, int channels_in, const int* origins, __half* tiles,
                                      int tile_h, int tile_w, int channels, int rgb, const float* mean, const float* std) {
    gather_planes(frame, height, width, channels_in, origins, tiles, tile_h, tile_w, channels, rgb, mean, std);
}

// ---- score map ------------------------------------------------------------------------------------------------------------

struct Inside {
    const u8* region;  // height x width of 0 and 255, or null
    const u8* blocks;  // blocks_h x blocks_w of 0 and 255, one per scale x scale px, or null
    int width, blocks_h, blocks_w, scale;
};

static __device__ u8 keep(const Inside& inside, int y, int x) {
    u8 kept = 255;
    if (inside.region) kept = inside.region[(size_t)y * inside.width + x];
    if (inside.blocks) {
        int row = min(y / inside.scale, inside.blocks_h - 1), column = min(x / inside.scale, inside.blocks_w - 1);
        kept &= inside.blocks[row * inside.blocks_w + column];
    }
    return kept;
}

// scores: N x classes x tile_h x tile_w; cuts: origin y, x and core y0, y1, x0, x1 per tile; map: classes x height x pitch.
// x: 16 px of a core's row, y: class, z: tile.
extern "C" __global__ void scatter_cores(const u8* scores, int tile_h, int tile_w, const int* cuts, u8* map, int height,
                                         int width, int pitch, const u8* region, const u8* blocks, int blocks_h, int blocks_w,
                                         int scale) {
    const int* cut = cuts + 6 * blockIdx.z;
    int y0 = cut[2], y1 = cut[3], x0 = cut[4], x1 = cut[5];
    int begin = x0 / 16, chunks = (x1 + 15) / 16 - begin;
    int index = thread_x();
    if (index >= (y1 - y0) * chunks) return;
    int y = y0 + index / chunks, from = (begin + index % chunks) * 16;
    int first = max(from, x0), last = min(from + 16, x1);
    size_t plane = (size_t)blockIdx.z * gridDim.y + blockIdx.y;
    const u8* in = scores + (plane * tile_h + (y - cut[0])) * tile_w - cut[1];
    u8* out = map + ((size_t)blockIdx.y * height + y) * pitch;
    Inside inside = {region, blocks, width, blocks_h, blocks_w, scale};
    if (region || blocks) {
        for (int x = first; x < last; x++) out[x] = in[x] & keep(inside, y, x);
    } else {
        copy(out + first, in + first, last - first);
    }
}

// One tile of overlapping ones: sum += score * weight, rounded after each step as NumPy does. x: pixel of the tile, y: class.
extern "C" __global__ void blend_tile(const u8* scores, int tile_h, int tile_w, int top, int left, const float* rows,
                                      const float* columns, float* sum, int height, int width) {
    int index = thread_x();
    if (index >= tile_h * tile_w) return;
    int y = index / tile_w, x = index % tile_w;
    if (top + y >= height || left + x >= width) return;
    float score = (float)scores[(size_t)blockIdx.y * tile_h * tile_w + index];
    float* out = sum + ((size_t)blockIdx.y * height + top + y) * width + left + x;
    *out = __fadd_rn(*out, __fmul_rn(score, __fmul_rn(rows[y], columns[x])));
}

// The blended sums as scores. x: pixel of the frame, y: class.
extern "C" __global__ void finish_blend(const float* sum, u8* map, int height, int width, int pitch, const u8* region,
                                        const u8* blocks, int blocks_h, int blocks_w, int scale) {
    int index = thread_x();
    if (index >= height * width) return;
    int y = index / width, x = index % width;
    float value = __fadd_rn(sum[(size_t)blockIdx.y * height * width + index], 0.5f);
    Inside inside = {region, blocks, width, blocks_h, blocks_w, scale};
    map[((size_t)blockIdx.y * height + y) * pitch + x] = (u8)(value < 255.0f ? value : 255.0f) & keep(inside, y, x);
}

// ---- mask -----------------------------------------------------------------------------------------------------------------

// map: height x pitch of one class, pitch a multiple of 32 with zeros beyond the width. x: word of the mask.
extern "C" __global__ void binarise(const u8* map, u32* mask, int words, int low) {
    int index = thread_x();
    if (index >= words) return;
    const uint4* pixels = (const uint4*)(map + (size_t)index * 32);
    u32 bits = 0;
    for (int half = 0; half < 2; half++) {
        uint4 four = pixels[half];
        u32 parts[4] = {four.x, four.y, four.z, four.w};
        for (int part = 0; part < 4; part++) {
            if (!parts[part]) continue;  // low is 1 or more
            for (int i = 0; i < 4; i++) bits |= (u32)(((parts[part] >> 8 * i) & 255u) >= (u32)low) << (half * 16 + part * 4 + i);
        }
    }
    mask[index] = bits;
}

struct Rows {
    const u32* mask;
    int height, words, width;
    u32 flip;  // all ones to work on the background
};

// A word of the mask or of the background; outside the frame there is neither.
static __device__ u32 word_at(const Rows& rows, int y, int word) {
    if (y < 0 || y >= rows.height || word < 0 || word >= rows.words) return 0;
    int left = rows.width - word * 32;
    u32 valid = left >= 32 ? ~0u : left <= 0 ? 0u : (1u << left) - 1u;
    return (rows.mask[(size_t)y * rows.words + word] ^ rows.flip) & valid;
}

// Dilate by a (2 reach + 1) square, reach up to 15; with flip the background, which erodes the mask. x: word.
extern "C" __global__ void dilate(const u32* in, u32* out, int height, int words, int width, int reach, int flip) {
    int index = thread_x();
    if (index >= height * words) return;
    Rows rows = {in, height, words, width, flip ? ~0u : 0u};
    int y = index / words, word = index % words;
    u32 before = 0, here = 0, after = 0;
    for (int row = y - reach; row <= y + reach; row++) {
        before |= word_at(rows, row, word - 1);
        here |= word_at(rows, row, word);
        after |= word_at(rows, row, word + 1);
    }
    u32 grown = here;
    for (int i = 1; i <= reach; i++) grown |= (here << i) | (before >> (32 - i)) | (here >> i) | (after << (32 - i));
    int left = width - word * 32;
    u32 valid = left >= 32 ? ~0u : left <= 0 ? 0u : (1u << left) - 1u;
    out[index] = (grown ^ rows.flip) & valid;
}

// ---- labels ---------------------------------------------------------------------------------------------------------------

// Where the run of ones begins that holds a bit of a word.
static __device__ int run_start(u32 word, int bit) {
    u32 zeros = ~word & ((1u << bit) - 1u);
    return zeros ? 32 - __clz(zeros) : 0;
}

// Take the lowest run of ones off a word; the answer is its half-open range.
static __device__ int2 next_run(u32* word) {
    int first = __ffs(*word) - 1;
    u32 zeros = ~*word & ~((1u << first) - 1u);
    int stop = zeros ? __ffs(zeros) - 1 : 32;
    *word = stop == 32 ? 0u : *word & ~((1u << stop) - 1u);
    return make_int2(first, stop);
}

static __device__ u32 find_root(u32* labels, u32 i) {
    for (u32 up = load(&labels[i]); up != i; up = load(&labels[i])) i = up;
    return i;
}

static __device__ void unite(u32* labels, u32 a, u32 b) {
    for (;;) {
        a = find_root(labels, a);
        b = find_root(labels, b);
        if (a == b) return;
        if (a < b) { u32 swap = a; a = b; b = swap; }
        u32 was = atomicMin(&labels[a], b);  // the larger root points to the smaller one
        if (was == a) return;
        a = was;  // another thread was faster: join with what it left
    }
}

// Every run of a word starts a component, or goes on with the one that reaches into the word. x: word.
extern "C" __global__ void start_labels(const u32* mask, u32* labels, int words_all, int words) {
    int index = thread_x();
    if (index >= words_all) return;
    u32 word = mask[index];
    if (!word) return;
    u32 base = (u32)index * 32u;
    u32 before = index % words ? mask[index - 1] : 0u;
    while (word) {
        int2 run = next_run(&word);
        u32 label = base + run.x;
        if (run.x == 0 && before >> 31) label = base - 32u + run_start(before, 31);
        labels[base + run.x] = label;
    }
}

// Join each run with those of the row above that it touches, with corners for eight neighbours. x: word.
// Where both go on into the neighbouring word it is left to one of the two: inside large components nearly nothing is to do.
extern "C" __global__ void join_rows(const u32* mask, u32* labels, int words_all, int words, int eight) {
    int index = thread_x();
    if (index >= words_all || index < words) return;
    u32 word = mask[index];
    if (!word) return;
    int above = index - words, column = index % words;
    bool has_left = column > 0, has_right = column + 1 < words;
    u32 over = mask[above], over_left = has_left ? mask[above - 1] : 0u, over_right = has_right ? mask[above + 1] : 0u;
    bool from_left = has_left && mask[index - 1] >> 31, to_right = has_right && mask[index + 1] & 1u;
    u32 base = (u32)index * 32u, base_over = (u32)above * 32u;
    while (word) {
        int2 run = next_run(&word);
        u32 label = base + run.x;
        int from = eight ? max(run.x - 1, 0) : run.x, to = eight ? min(run.y + 1, 32) : run.y;
        u32 window = (to == 32 ? ~0u : (1u << to) - 1u) & ~((1u << from) - 1u);
        u32 touched = over & window;
        bool joined = run.x == 0 && from_left && over_left >> 31;
        while (touched) {
            int2 part = next_run(&touched);
            if (!(joined && part.x == 0)) unite(labels, label, base_over + run_start(over, part.x));
        }
        if (!eight) continue;
        if (run.x == 0 && !from_left && over_left >> 31) unite(labels, label, base_over - 32u + run_start(over_left, 31));
        if (run.y == 32 && !to_right && over_right & 1u) unite(labels, label, base_over + 32u);
    }
}

// Let every run point at its root. x: word.
extern "C" __global__ void flatten(const u32* mask, u32* labels, int words_all) {
    int index = thread_x();
    if (index >= words_all) return;
    u32 word = mask[index];
    while (word) {
        u32 label = (u32)index * 32u + next_run(&word).x;
        store(&labels[label], find_root(labels, label));
    }
}

// Give every root a place in the table; counts[0] says how many there are, also those that found none. x: word.
extern "C" __global__ void number_roots(const u32* mask, u32* labels, int words_all, Stats* stats, u32 places, u32* counts) {
    int index = thread_x();
    if (index >= words_all) return;
    u32 word = mask[index];
    while (word) {
        u32 label = (u32)index * 32u + next_run(&word).x;
        if (labels[label] != label) continue;
        u32 place = atomicAdd(&counts[0], 1u);
        labels[label] = NUMBERED | (place < places ? place : NO_PLACE);
        if (place < places) {
            Stats none = {0, 0, 0, label, 0, ~0u, ~0u, 0, 0, 0, 0};
            stats[place] = none;
        }
    }
}

static __device__ void add_to(Stats* target, const Stats& part) {
    atomicAdd(&target->sum_x, part.sum_x);
    atomicAdd(&target->sum_y, part.sum_y);
    atomicAdd(&target->sum_score, part.sum_score);
    atomicAdd(&target->area, part.area);
    // Most parts of a large component change no extreme: look first, it is cheaper than an atomic on one hot place.
    if (part.x0 < load(&target->x0)) atomicMin(&target->x0, part.x0);
    if (part.y0 < load(&target->y0)) atomicMin(&target->y0, part.y0);
    if (part.x1 > load(&target->x1)) atomicMax(&target->x1, part.x1);
    if (part.y1 > load(&target->y1)) atomicMax(&target->y1, part.y1);
    if (part.peak > load(&target->peak)) atomicMax(&target->peak, part.peak);
}

// Sum up every component; runs of one strip that belong together are added at once. x: strip of a row.
extern "C" __global__ void measure(const u32* mask, const u32* labels, const u8* map, int height, int words, Stats* stats) {
    int strips = (words + STRIP - 1) / STRIP, index = thread_x();
    if (index >= height * strips) return;
    int y = index / strips, first = (index % strips) * STRIP, last = min(first + STRIP, words);
    u32 current = NO_PLACE;
    Stats part = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    for (int column = first; column < last; column++) {
        u32 at = (u32)(y * words + column);
        u32 word = mask[at];
        while (word) {
            int2 run = next_run(&word);
            u32 label = labels[at * 32u + run.x];
            u32 place = (label & NUMBERED ? label : labels[label]) & ~NUMBERED;
            if (place == NO_PLACE) continue;
            u32 x0 = column * 32 + run.x, x1 = column * 32 + run.y, n = x1 - x0;
            if (place != current) {
                if (current != NO_PLACE) add_to(&stats[current], part);
                Stats fresh = {0, 0, 0, 0, 0, x0, (u32)y, x1, (u32)y + 1, 0, 0};
                part = fresh;
                current = place;
            }
            part.area += n;
            part.sum_x += (u64)(x0 + x1 - 1) * n / 2;
            part.sum_y += (u64)y * n;
            part.x1 = x1;
            const u8* scores = map + (size_t)at * 32;
            for (int x = run.x; x < run.y; x++) {
                part.sum_score += scores[x];
                part.peak = max(part.peak, (u32)scores[x]);
            }
        }
    }
    if (current != NO_PLACE) add_to(&stats[current], part);
}

// Copy what the class's limits let through to the table of results. counts: roots, kept. x: place.
extern "C" __global__ void keep_components(const Stats* stats, u32 places, Stats* kept, u32* counts, u32 min_area, u32 max_area,
                                           u32 peak, double max_aspect) {
    u32 index = (u32)thread_x();
    if (index >= min(counts[0], places)) return;
    Stats one = stats[index];
    u32 w = one.x1 - one.x0, h = one.y1 - one.y0;
    if (one.area < min_area || one.area > max_area || one.peak < peak) return;
    if ((double)max(w, h) > max_aspect * (double)min(w, h)) return;
    kept[atomicAdd(&counts[1], 1u)] = one;
}

// Draw components one behind the other, one byte a pixel; drawings lie in the order of their places. x: pixel of all boxes.
extern "C" __global__ void draw(const u32* mask, const u32* labels, int words, const Drawing* drawings, u32 count, u8* bitmaps,
                                u32 pixels) {
    u32 index = (u32)thread_x();
    if (index >= pixels) return;
    u32 first = 0, last = count;  // the drawing that this pixel belongs to is in [first, last)
    while (last - first > 1) {
        u32 middle = (first + last) / 2;
        if (drawings[middle].place <= index) first = middle;
        else last = middle;
    }
    Drawing one = drawings[first];
    u32 w = one.x1 - one.x0, i = index - one.place, x = one.x0 + i % w;
    u32 at = (one.y0 + i / w) * words + x / 32, word = mask[at];
    u8 inside = 0;
    if (word >> (x % 32) & 1u) {
        u32 start = at * 32u + run_start(word, x % 32), label = labels[start];
        inside = (label & NUMBERED ? start : label) == one.root;
    }
    bitmaps[index] = inside;
}
