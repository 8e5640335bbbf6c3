/* Makes system calls on files below a folder fail, as a bad or full disk does; loaded by LD_PRELOAD.

   FAULTS_UNDER is the folder, FAULTS_CONTROL a file of six 64-bit numbers that the test and every process under test
   map: kinds (bits: 1 write, 2 sync, 4 rename, 8 truncate), at (the number of the call that fails; 0: none), until
   (the last one that fails), error (an errno; 0: a write keeps half of its bytes and says so), seen, failed. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, RENAME = 4, TRUNCATE = 8 };
struct control { volatile int64_t kinds, at, until, error, seen, failed; };

static struct control *control;
static char under[PATH_MAX];

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("FAULTS_CONTROL"), *folder = getenv("FAULTS_UNDER");
    if (!file || !folder) return;
    int descriptor = open(file, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return;
    void *place = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (place != MAP_FAILED && realpath(folder, under)) control = place;
}

/* Whether this call is to fail; -1 for a write that keeps half. */
static int fails(int kind, const char *path) {
    if (!control || !(control->kinds & kind) || !path) return 0;
    size_t length = strlen(under);
    if (strncmp(path, under, length) || (path[length] != '/' && path[length])) return 0;
    int64_t number = __sync_add_and_fetch(&control->seen, 1);
    if (!control->at || number < control->at || number > control->until) return 0;
    __sync_add_and_fetch(&control->failed, 1);
    if (!control->error) return kind == WRITE ? -1 : EIO;
    return (int)control->error;
}

static int fails_on(int kind, int descriptor) {
    if (!control || !(control->kinds & kind)) return 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(kind, path);
}

#define REAL(result, name, ...)                                          \
    static result (*real)(__VA_ARGS__);                                  \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)
#define REFUSE(error) do { errno = error; return -1; } while (0)

ssize_t write(int descriptor, const void *bytes, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    int error = fails_on(WRITE, descriptor);
    if (error > 0) REFUSE(error);
    return real(descriptor, bytes, error && size > 1 ? size / 2 : size);
}

#define POSITIONED(name, offset_type)                                                       \
    ssize_t name(int descriptor, const void *bytes, size_t size, offset_type offset) {      \
        REAL(ssize_t, name, int, const void *, size_t, offset_type);                        \
        int error = fails_on(WRITE, descriptor);                                            \
        if (error > 0) REFUSE(error);                                                       \
        return real(descriptor, bytes, error && size > 1 ? size / 2 : size, offset);        \
    }
POSITIONED(pwrite, off_t)
POSITIONED(pwrite64, off64_t)

#define SYNCED(name)                              \
    int name(int descriptor) {                    \
        REAL(int, name, int);                     \
        int error = fails_on(SYNC, descriptor);   \
        if (error) REFUSE(error);                 \
        return real(descriptor);                  \
    }
SYNCED(fsync)
SYNCED(fdatasync)

#define TRUNCATED(name, offset_type)                  \
    int name(int descriptor, offset_type size) {      \
        REAL(int, name, int, offset_type);            \
        int error = fails_on(TRUNCATE, descriptor);   \
        if (error) REFUSE(error);                     \
        return real(descriptor, size);                \
    }
TRUNCATED(ftruncate, off_t)
TRUNCATED(ftruncate64, off64_t)

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    int error = fails(RENAME, to);
    if (error) REFUSE(error);
    return real(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    REAL(int, renameat, int, const char *, int, const char *);
    int error = fails(RENAME, to);
    if (error) REFUSE(error);
    return real(from_folder, from, to_folder, to);
}
