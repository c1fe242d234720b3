// What kernels.cu needs of CUDA, for a processor: places of threads, atomics, a few intrinsics, and loops in place of a launch.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#define __global__
#define __device__

struct dim3_t { unsigned x, y, z; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct int2 { int x, y; };
inline int2 make_int2(int x, int y) { return {x, y}; }
inline thread_local dim3_t blockIdx, threadIdx, blockDim, gridDim;

// As in CUDA, where both arguments may be of different types.
template <typename A, typename B> inline std::common_type_t<A, B> min(A a, B b) { return a < b ? a : b; }
template <typename A, typename B> inline std::common_type_t<A, B> max(A a, B b) { return a > b ? a : b; }

inline int __clz(unsigned value) { return value ? __builtin_clz(value) : 32; }
inline int __ffs(unsigned value) { return __builtin_ffs((int)value); }
// Compiled with -ffp-contract=off, so that each is rounded by itself.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
typedef _Float16 __half;
inline __half __float2half_rn(float value) { return (__half)value; }

// With a seed, other threads of the kernel run from start to end inside a look at shared memory, so that what was seen may be old
// by the time it is used: the interleavings that lose an update, in the same order every time.
inline thread_local std::function<void()>* meanwhile;
inline thread_local unsigned looks, depth;
template <typename T> inline T load(const T* place) {
    T value = __atomic_load_n(place, __ATOMIC_RELAXED);
    if (meanwhile && depth < 8 && ++looks % 3 == 0) (*meanwhile)();
    return value;
}
template <typename T> inline void store(T* place, T value) { __atomic_store_n(place, value, __ATOMIC_RELAXED); }
template <typename T> inline T atomicAdd(T* place, T value) { return __atomic_fetch_add(place, value, __ATOMIC_RELAXED); }
template <typename T> inline T atomicMin(T* place, T value) {
    T was = load(place);
    while (value < was && !__atomic_compare_exchange_n(place, &was, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
    return was;
}
template <typename T> inline T atomicMax(T* place, T value) {
    T was = load(place);
    while (value > was && !__atomic_compare_exchange_n(place, &was, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
    return was;
}

namespace host {

template <typename... A, size_t... I>
void one(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<A*>(arguments[I])...);
}

// Run a kernel over a grid. A seed shuffles the threads and lets them interrupt each other; workers run them at the same time.
template <typename... A>
void run(void (*kernel)(A...), const unsigned* grid, const unsigned* block, void** arguments, unsigned workers, unsigned seed) {
    size_t threads = (size_t)grid[0] * grid[1] * grid[2] * block[0];
    std::vector<unsigned> order(seed ? threads : 0);
    std::iota(order.begin(), order.end(), 0u);
    std::shuffle(order.begin(), order.end(), std::mt19937(seed));
    std::atomic<size_t> next{0};
    auto step = [&] {
        size_t i = next++;
        if (i >= threads) return false;
        size_t at = seed ? order[i] : i, of = at / block[0];
        threadIdx = {(unsigned)(at % block[0]), 0, 0};
        blockIdx = {(unsigned)(of % grid[0]), (unsigned)(of / grid[0] % grid[1]), (unsigned)(of / grid[0] / grid[1])};
        gridDim = {grid[0], grid[1], grid[2]};
        blockDim = {block[0], 1, 1};
        one(kernel, arguments, std::index_sequence_for<A...>{});
        return true;
    };
    std::function<void()> interrupt = [&] {
        dim3_t at = threadIdx, of = blockIdx;
        depth++;
        step();
        depth--;
        threadIdx = at;
        blockIdx = of;
    };
    auto work = [&] {
        meanwhile = seed ? &interrupt : nullptr;
        while (step()) {}
        meanwhile = nullptr;
    };
    std::vector<std::thread> crew;
    for (unsigned i = 1; i < workers; i++) crew.emplace_back(work);
    work();
    for (auto& worker : crew) worker.join();
}

}  // namespace host
