/* A disk that fails or stands still when a test says so: preloaded into the server, before the C library.
 *
 * The file that FAULTS names holds lines "operation suffix what [times]": operation is open, read, write, print (which
 * writes at the end), flush or truncate; suffix is the end of the file's path; what is EIO or ENOSPC, with which the operation fails, the first
 * `times` times if that is given, or `stall`, and then it waits until the line is gone. Without the file nothing
 * happens. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int ends(const char *path, const char *suffix) {
    size_t path_len = strlen(path), suffix_len = strlen(suffix);
    return path_len >= suffix_len && strcmp(path + path_len - suffix_len, suffix) == 0;
}

/* The errno to fail with, -1 to wait, 0 to go on. */
static int asked(const char *operation, const char *path) {
    static char last[1024];
    static int used[16];
    const char *name = getenv("FAULTS");
    if (!name) return 0;
    int file = syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    char text[1024];
    ssize_t len = syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    if (len <= 0) return 0;
    text[len] = 0;
    int found = 0, nth = 0;
    pthread_mutex_lock(&lock);
    if (strcmp(last, text) != 0) {
        strcpy(last, text);
        memset(used, 0, sizeof used);
    }
    char *rest;
    for (char *line = strtok_r(text, "\n", &rest); line && nth < 16; line = strtok_r(NULL, "\n", &rest), nth++) {
        char of[16], suffix[256], what[16];
        int times = 1 << 30;
        if (sscanf(line, "%15s %255s %15s %d", of, suffix, what, &times) < 3) continue;
        if (strcmp(of, operation) != 0 || !ends(path, suffix) || used[nth] >= times) continue;
        used[nth]++;
        found = strcmp(what, "stall") == 0 ? -1 : strcmp(what, "ENOSPC") == 0 ? ENOSPC : EIO;
        break;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

/* Whether the operation is to fail now, with errno set. */
static int fails(const char *operation, const char *path) {
    int what;
    while ((what = asked(operation, path)) == -1) {
        struct timespec pause = {0, 1000000};
        nanosleep(&pause, NULL);
    }
    if (what) errno = what;
    return what;
}

static int fails_on(const char *operation, int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len <= 0) return 0;
    path[len] = 0;
    return fails(operation, path);
}

#define NEXT(name) __typeof__(&name) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t pread64(int file, void *to, size_t len, off64_t at) {
    NEXT(pread64);
    return fails_on("read", file) ? -1 : next(file, to, len, at);
}

ssize_t pwrite64(int file, const void *from, size_t len, off64_t at) {
    NEXT(pwrite64);
    return fails_on("write", file) ? -1 : next(file, from, len, at);
}

ssize_t write(int file, const void *from, size_t len) {
    NEXT(write);
    return fails_on("print", file) ? -1 : next(file, from, len);
}

int fsync(int file) {
    NEXT(fsync);
    return fails_on("flush", file) ? -1 : next(file);
}

int fdatasync(int file) {
    NEXT(fdatasync);
    return fails_on("flush", file) ? -1 : next(file);
}

int ftruncate64(int file, off64_t len) {
    NEXT(ftruncate64);
    return fails_on("truncate", file) ? -1 : next(file, len);
}

int open64(const char *path, int flags, ...) {
    NEXT(open64);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return fails("open", path) ? -1 : next(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    NEXT(open);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return fails("open", path) ? -1 : next(path, flags, mode);
}
