/* A stand-in for libnvidia-ml.so.1: one card, told by environment variables.
 *
 * Only what edgepack asks is here, with the signatures of nvml.h. What a variable does not set is
 * an idle NVIDIA L4. Compiled by tests; no part of edgepack.
 */
#include <stdlib.h>
#include <string.h>

typedef unsigned long long u64;
typedef struct { u64 total, free, used; } memory_v1;
typedef struct { unsigned version; u64 total, reserved, free, used; } memory_v2;
typedef struct { unsigned gpu, memory; } rates;
typedef struct { u64 reference_time, violation_time; } violation;

static long from(const char *name, long otherwise) {
    const char *value = getenv(name);
    return value ? strtol(value, 0, 0) : otherwise;
}

static const u64 TOTAL = 24ull << 30;

const char *nvmlErrorString(int code) {
    switch (code) {
    case 3: return "Not Supported";
    case 9: return "Driver Not Loaded";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}
int nvmlInit_v2(void) { return (int)from("STANDIN_INIT", 0); }
int nvmlInitWithFlags(unsigned flags) { (void)flags; return nvmlInit_v2(); }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = (unsigned)from("STANDIN_CARDS", 1); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    *handle = (void *)(size_t)(index + 1);
    return 0;
}
int nvmlSystemGetDriverVersion(char *text, unsigned length) {
    const char *value = getenv("STANDIN_DRIVER");
    strncpy(text, value ? value : "550.54.15", length);
    return 0;
}
int nvmlSystemGetCudaDriverVersion(int *version) {
    *version = (int)from("STANDIN_CUDA", 12040);
    return 0;
}
int nvmlDeviceGetName(void *card, char *text, unsigned length) {
    (void)card;
    strncpy(text, "NVIDIA L4", length);
    return 0;
}
int nvmlDeviceGetCudaComputeCapability(void *card, int *major, int *minor) {
    (void)card;
    *major = (int)from("STANDIN_CAPABILITY", 8);
    *minor = 9;
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *card, memory_v1 *memory) {
    (void)card;
    memory->total = TOTAL;
    memory->free = (u64)from("STANDIN_FREE", (long)(TOTAL - (300ull << 20)));
    memory->used = TOTAL - memory->free;
    return 0;
}
int nvmlDeviceGetMemoryInfo_v2(void *card, memory_v2 *memory) {
    memory_v1 first;
    if (memory->version != 0x02000028) return 25;
    nvmlDeviceGetMemoryInfo(card, &first);
    memory->total = first.total;
    memory->reserved = 0;
    memory->free = first.free;
    memory->used = first.used;
    return 0;
}
int nvmlDeviceGetMaxClockInfo(void *card, int kind, unsigned *mhz) {
    (void)card;
    *mhz = kind == 2 ? 6251 : 2040;
    return 0;
}
int nvmlDeviceGetClockInfo(void *card, int kind, unsigned *mhz) {
    (void)card;
    *mhz = kind == 2 ? 405 : 210;
    return 0;
}
int nvmlDeviceGetEnforcedPowerLimit(void *card, unsigned *mw) { (void)card; *mw = 72000; return 0; }
int nvmlDeviceGetPowerUsage(void *card, unsigned *mw) { (void)card; *mw = 12500; return 0; }
int nvmlDeviceGetPersistenceMode(void *card, int *mode) { (void)card; *mode = 1; return 0; }
int nvmlDeviceGetComputeMode(void *card, int *mode) {
    (void)card;
    *mode = (int)from("STANDIN_MODE", 0);
    return 0;
}
/* As on most cards for desktops and small servers. */
int nvmlDeviceGetMigMode(void *card, unsigned *now, unsigned *next) {
    (void)card; (void)now; (void)next;
    return 3;
}
int nvmlDeviceGetTemperature(void *card, int sensor, unsigned *celsius) {
    (void)card; (void)sensor;
    *celsius = 41;
    return 0;
}
/* What newer versions of the Python package call for the same. */
typedef struct { unsigned version; int sensor; int celsius; } temperature;
int nvmlDeviceGetTemperatureV(void *card, temperature *found) {
    (void)card;
    found->celsius = 41;
    return 0;
}
int nvmlDeviceGetUtilizationRates(void *card, rates *found) {
    (void)card;
    found->gpu = 7;
    found->memory = 1;
    return 0;
}
int nvmlDeviceGetCurrentClocksEventReasons(void *card, u64 *reasons) {
    (void)card;
    *reasons = (u64)from("STANDIN_REASONS", 1);
    return 0;
}
int nvmlDeviceGetViolationStatus(void *card, int policy, violation *found) {
    (void)card; (void)policy;
    found->reference_time = 0;
    found->violation_time = 0;
    return 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *card, unsigned *count, void *processes) {
    (void)card; (void)processes;
    *count = 0;
    return 0;
}
