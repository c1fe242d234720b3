// A CUDA driver made of a processor, as far as PyCUDA and jetspect call it: the real PyCUDA runs on it, without a GPU.
// Streams are queues that run when someone waits; kernels are those of kernels.cu, compiled for the processor (kernels.inc).
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#define JETSPECT_HOST
#include "kernels.inc"

typedef int CUresult;
typedef unsigned long long CUdeviceptr;
typedef std::vector<std::function<void()>> Work;

// As the driver: what belongs to a context is out of reach for a thread that has none.
#define NEED_CONTEXT if (!contexts) return INVALID_CONTEXT;
enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, NOT_FOUND = 500, NOT_SUPPORTED = 801 };

static Work queue, *recording;
static std::map<CUdeviceptr, size_t> memory, locked;
static size_t used;
static thread_local int contexts;  // pushed and not popped in this thread
static int anchor;                 // what a context's handle points to
static std::map<std::string, long> alive;  // of each kind, less what was destroyed: 0 after everything is closed
static const size_t TOTAL = (size_t)1 << 32;

static void put(std::function<void()> work) { (recording ? *recording : queue).push_back(std::move(work)); }
static void drain() {
    Work todo;
    todo.swap(queue);
    for (auto& work : todo) work();
}
static bool inside(CUdeviceptr at, size_t n) {
    auto found = memory.upper_bound(at);
    return found != memory.begin() && at + n <= (--found)->first + found->second;
}
static bool integrated() { return getenv("FAKE_CUDA_INTEGRATED") != nullptr; }

extern "C" {
CUresult cuInit(unsigned) { return getenv("FAKE_CUDA_BROKEN") ? 100 : SUCCESS; }
CUresult cuDriverGetVersion(int* version) { *version = 12060; return SUCCESS; }
CUresult cuGetErrorString(CUresult error, const char** said) {
    *said = error == OUT_OF_MEMORY ? "out of memory" : error == 100 ? "no CUDA-capable device is detected" : "an error";
    return SUCCESS;
}
CUresult cuDeviceGetCount(int* count) { *count = 1; return SUCCESS; }
CUresult cuDeviceGet(int* device, int) { *device = 0; return SUCCESS; }
CUresult cuDeviceGetName(char* name, int n, int) { snprintf(name, n, "a processor"); return SUCCESS; }
CUresult cuDeviceTotalMem_v2(size_t* bytes, int) { *bytes = TOTAL; return SUCCESS; }
CUresult cuDeviceComputeCapability(int* major, int* minor, int) { *major = 9; *minor = 0; return SUCCESS; }
CUresult cuDeviceGetAttribute(int* value, int attribute, int) {
    *value = attribute == 75 ? 9 : attribute == 76 ? 0 : attribute == 18 ? integrated() : 1;
    return SUCCESS;
}
CUresult cuDevicePrimaryCtxRetain(void** context, int) { alive["context"]++; *context = &anchor; return SUCCESS; }
CUresult cuDevicePrimaryCtxRelease_v2(int) { alive["context"]--; return SUCCESS; }
CUresult cuDevicePrimaryCtxRelease(int) { alive["context"]--; return SUCCESS; }
CUresult cuCtxPushCurrent_v2(void*) { contexts++; return SUCCESS; }
CUresult cuCtxPopCurrent_v2(void** context) { contexts--; *context = &anchor; return SUCCESS; }
CUresult cuCtxGetCurrent(void** context) { *context = contexts ? (void*)&anchor : nullptr; return SUCCESS; }
CUresult cuCtxSetCurrent(void*) { return SUCCESS; }
CUresult cuCtxGetDevice(int* device) { *device = 0; return SUCCESS; }
CUresult cuCtxSynchronize() { drain(); return SUCCESS; }
CUresult cuCtxGetApiVersion(void*, unsigned* version) { *version = 12060; return SUCCESS; }
CUresult cuCtxDetach(void*) { return SUCCESS; }
CUresult cuStreamCreate(void** stream, unsigned) {
    NEED_CONTEXT
    alive["stream"]++;
    *stream = &queue;
    return SUCCESS;
}
CUresult cuStreamDestroy_v2(void*) {
    NEED_CONTEXT
    alive["stream"]--;
    return SUCCESS;
}
CUresult cuStreamSynchronize(void*) {
    NEED_CONTEXT
    drain();
    return SUCCESS;
}
CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
    NEED_CONTEXT
    *free = TOTAL - used;
    *total = TOTAL;
    return SUCCESS;
}
CUresult cuMemAlloc_v2(CUdeviceptr* at, size_t n) {
    NEED_CONTEXT
    if (n > TOTAL - used) return OUT_OF_MEMORY;
    void* data = aligned_alloc(256, (n + 255) / 256 * 256);
    memset(data, 0xCD, n);
    memory[*at = (CUdeviceptr)data] = n;
    used += n;
    alive["memory"]++;
    return SUCCESS;
}
CUresult cuMemFree_v2(CUdeviceptr at) {
    NEED_CONTEXT
    drain();
    if (!memory.count(at)) return INVALID_VALUE;
    used -= memory[at];
    alive["memory"]--;
    memory.erase(at);
    free((void*)at);
    return SUCCESS;
}
CUresult cuMemHostAlloc(void** at, size_t n, unsigned) {
    NEED_CONTEXT
    alive["page-locked memory"]++;
    *at = aligned_alloc(256, (n + 255) / 256 * 256);
    locked[(CUdeviceptr)*at] = n;
    return SUCCESS;
}
CUresult cuMemFreeHost(void* at) {
    NEED_CONTEXT
    drain();
    alive["page-locked memory"]--;
    locked.erase((CUdeviceptr)at);
    free(at);
    return SUCCESS;
}
CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* at, void* host, unsigned) {
    NEED_CONTEXT
    *at = (CUdeviceptr)host;
    return SUCCESS;
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t n, void*) {
    NEED_CONTEXT
    if (!inside(to, n)) return INVALID_VALUE;
    auto own = locked.upper_bound((CUdeviceptr)from);
    if (own != locked.begin() && (CUdeviceptr)from + n <= (--own)->first + own->second) {
        put([=] { memcpy((void*)to, from, n); });  // read when its turn comes
    } else {
        std::string staged((const char*)from, n);
        put([=] { memcpy((void*)to, staged.data(), n); });
    }
    return SUCCESS;
}
CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t n, void*) {
    NEED_CONTEXT
    if (!inside(from, n)) return INVALID_VALUE;
    put([=] { memcpy(to, (void*)from, n); });
    return SUCCESS;
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t n, void*) {
    NEED_CONTEXT
    if (!inside(to, n) || !inside(from, n)) return INVALID_VALUE;
    put([=] { memcpy((void*)to, (void*)from, n); });
    return SUCCESS;
}
CUresult cuMemsetD8Async(CUdeviceptr at, unsigned char byte, size_t n, void*) {
    NEED_CONTEXT
    if (!inside(at, n)) return INVALID_VALUE;
    put([=] { memset((void*)at, byte, n); });
    return SUCCESS;
}
CUresult cuEventCreate(void** event, unsigned) {
    NEED_CONTEXT
    alive["event"]++;
    *event = new double(0);
    return SUCCESS;
}
CUresult cuEventDestroy_v2(void*) {
    NEED_CONTEXT
    alive["event"]--;
    return SUCCESS;
}
CUresult cuEventRecord(void* event, void*) {
    NEED_CONTEXT
    put([=] { *(double*)event = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); });
    return SUCCESS;
}
CUresult cuEventSynchronize(void*) {
    NEED_CONTEXT
    drain();
    return SUCCESS;
}
static CUresult elapsed(float* ms, void* a, void* b) { *ms = (float)((*(double*)b - *(double*)a) * 1e3); return SUCCESS; }
CUresult cuEventElapsedTime(float* ms, void* a, void* b) {
    NEED_CONTEXT
    return elapsed(ms, a, b); }
CUresult cuEventElapsedTime_v2(float* ms, void* a, void* b) {
    NEED_CONTEXT
    return elapsed(ms, a, b); }
CUresult cuModuleLoadDataEx(void** module, const void* code, unsigned, void*, void*) {
    NEED_CONTEXT
    if (memcmp(code, "\x7f" "ELF", 4)) return 200;  // a cubin is one
    *module = &queue;
    alive["module"]++;
    return SUCCESS;
}
CUresult cuModuleLoadData(void** module, const void* code) { return cuModuleLoadDataEx(module, code, 0, nullptr, nullptr); }
CUresult cuModuleUnload(void*) {
    NEED_CONTEXT
    alive["module"]--;
    return SUCCESS;
}
CUresult cuModuleGetFunction(void** function, void*, const char* name) {
    NEED_CONTEXT
    auto found = KERNELS.find(name);
    if (found == KERNELS.end()) return NOT_FOUND;
    *function = (void*)&found->second;
    return SUCCESS;
}
CUresult cuFuncSetBlockShape(void*, int, int, int) { return SUCCESS; }
CUresult cuFuncGetAttribute(int* value, int, void*) { *value = 0; return SUCCESS; }
CUresult cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned, unsigned, unsigned, void*,
                        void** arguments, void** extra) {
    NEED_CONTEXT
    if (arguments || !extra || extra[0] != (void*)1 || extra[2] != (void*)2) return NOT_SUPPORTED;  // PyCUDA hands over a buffer
    std::string packed((const char*)extra[1], *(size_t*)extra[3]);
    auto& kernel = *(const Kernel*)function;
    if (packed.size() != kernel.bytes) return INVALID_VALUE;
    put([=] {
        unsigned grid[3] = {gx, gy, gz}, block[3] = {bx, 1, 1};
        kernel.run(grid, block, packed.data());
    });
    return SUCCESS;
}
CUresult cuStreamBeginCapture_v2(void*, int) {
    NEED_CONTEXT
    recording = new Work;
    return SUCCESS;
}
CUresult cuStreamEndCapture(void*, void** graph) {
    NEED_CONTEXT
    *graph = recording;
    recording = nullptr;
    return SUCCESS;
}
CUresult cuGraphInstantiateWithFlags(void** made, void* graph, unsigned long long) {
    NEED_CONTEXT
    alive["graph"]++;
    *made = new Work(*(Work*)graph);
    return SUCCESS;
}
CUresult cuGraphDestroy(void* graph) {
    NEED_CONTEXT
    delete (Work*)graph;
    return SUCCESS;
}
CUresult cuGraphExecDestroy(void* made) {
    NEED_CONTEXT
    alive["graph"]--;
    delete (Work*)made;
    return SUCCESS;
}
CUresult cuGraphLaunch(void* made, void*) {
    NEED_CONTEXT
    Work work = *(Work*)made;
    put([=] { for (auto& one : work) one(); });
    return SUCCESS;
}
// What is still there, for tests: one line per kind.
const char* fake_left(void) {
    static std::string told;
    told.clear();
    for (auto& kind : alive) if (kind.second) told += kind.first + ": " + std::to_string(kind.second) + "\n";
    if (contexts) told += "contexts of this thread: " + std::to_string(contexts) + "\n";
    return told.c_str();
}
}
