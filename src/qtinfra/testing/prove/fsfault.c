/*
 * A disk that fails on command, for one process: preload it (LD_PRELOAD) and say in the environment what goes
 * wrong. Only files whose path begins with FSFAULT_PATH (or is it, with FSFAULT_EXACT=1) are touched.
 *
 *   FSFAULT_FAIL_SYNC=n         the n-th fsync or fdatasync returns EIO, once; later ones succeed, as Linux's do
 *   FSFAULT_KILL_BEFORE_SYNC=n  SIGKILL instead of the n-th sync
 *   FSFAULT_KILL_AFTER_SYNC=n   SIGKILL when the n-th sync has returned
 *   FSFAULT_NO_SYNC=1           syncs do nothing and say that all is well
 *   FSFAULT_TORN_WRITE=n:k      the n-th write writes k bytes, then SIGKILL
 *   FSFAULT_NO_SPACE=n          after n bytes every write returns ENOSPC
 *   FSFAULT_FULL_WHILE=file     while that file exists the disk is full: files grow only by what others that are
 *                               deleted give back; any other growth returns ENOSPC
 *
 * The environment is read when the library is loaded and again by fsfault_arm(), which sets all counts to zero.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SYNCS, WRITES, BYTES, FAULTS, SYNCS_AFTER_FAULT, WRITES_AFTER_FAULT, COUNTS };

static struct {
    char path[4096], full_while[4096];
    size_t path_length;
    int exact, no_sync, armed;
    long fail_sync, kill_before_sync, kill_after_sync, torn_write, torn_bytes, no_space;
} plan;

static long counts[COUNTS];
static long given_back;
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;

static long number(const char *name, long otherwise)
{
    const char *text = getenv(name);
    return text && *text ? atol(text) : otherwise;
}

void fsfault_arm(void)
{
    const char *path = getenv("FSFAULT_PATH");
    const char *full = getenv("FSFAULT_FULL_WHILE");
    const char *torn = getenv("FSFAULT_TORN_WRITE");
    const char *colon = torn ? strchr(torn, ':') : NULL;

    pthread_mutex_lock(&guard);
    memset(counts, 0, sizeof counts);
    memset(&plan, 0, sizeof plan);
    if (path && *path && strlen(path) < sizeof plan.path) {
        strcpy(plan.path, path);
        plan.path_length = strlen(path);
        plan.armed = 1;
    }
    if (full && strlen(full) < sizeof plan.full_while)
        strcpy(plan.full_while, full);
    given_back = 0;
    plan.exact = number("FSFAULT_EXACT", 0) != 0;
    plan.no_sync = number("FSFAULT_NO_SYNC", 0) != 0;
    plan.fail_sync = number("FSFAULT_FAIL_SYNC", 0);
    plan.kill_before_sync = number("FSFAULT_KILL_BEFORE_SYNC", 0);
    plan.kill_after_sync = number("FSFAULT_KILL_AFTER_SYNC", 0);
    plan.torn_write = number("FSFAULT_TORN_WRITE", 0);
    plan.torn_bytes = colon ? atol(colon + 1) : 0;
    plan.no_space = number("FSFAULT_NO_SPACE", -1);
    pthread_mutex_unlock(&guard);
}

long fsfault_count(int which)
{
    long count = -1;

    pthread_mutex_lock(&guard);
    if (which >= 0 && which < COUNTS)
        count = counts[which];
    pthread_mutex_unlock(&guard);
    return count;
}

__attribute__((constructor)) static void loaded(void)
{
    fsfault_arm();
}

/* Whether the file behind a descriptor is one that the plan is about; leaves errno as it was. */
static int concerns(int fd)
{
    char link[64], path[4096];
    ssize_t length;
    int before = errno;

    if (!plan.armed)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < (ssize_t)plan.path_length || strncmp(path, plan.path, plan.path_length) != 0)
        return 0;
    return !plan.exact || (size_t)length == plan.path_length;
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static int failed(int error)
{
    counts[FAULTS]++;
    pthread_mutex_unlock(&guard);
    errno = error;
    return -1;
}

static int sync_file(int fd, int (*real)(int))
{
    int result;
    long n;

    if (!concerns(fd))
        return real(fd);
    pthread_mutex_lock(&guard);
    n = ++counts[SYNCS];
    if (counts[FAULTS])
        counts[SYNCS_AFTER_FAULT]++;
    if (n == plan.kill_before_sync)
        die();
    if (n == plan.fail_sync)
        return failed(EIO);
    pthread_mutex_unlock(&guard);
    result = plan.no_sync ? 0 : real(fd);
    if (n == plan.kill_after_sync)
        die();
    return result;
}

/* Whether the disk is full now; when it is not, what was given back counts no more. */
static int full(void)
{
    int before = errno, found = plan.full_while[0] && access(plan.full_while, F_OK) == 0;

    if (!found)
        given_back = 0;
    errno = before;
    return found;
}

/* By how many bytes a write makes its file longer. An offset below 0 is where the file stands. */
static long growth(int fd, size_t count, off_t offset)
{
    struct stat file;

    if (fstat(fd, &file) != 0)
        return (long)count;
    if (offset < 0)
        offset = fcntl(fd, F_GETFL) & O_APPEND ? file.st_size : lseek(fd, 0, SEEK_CUR);
    return offset + (off_t)count > file.st_size ? (long)(offset + (off_t)count - file.st_size) : 0;
}

/* How many of `count` bytes the next write may take; -1 with errno when none. Sets *deadly for a torn one. */
static ssize_t allowed(int fd, size_t count, off_t offset, int *deadly)
{
    size_t take = count;

    pthread_mutex_lock(&guard);
    if (counts[FAULTS])
        counts[WRITES_AFTER_FAULT]++;
    if (full()) {
        long more = growth(fd, count, offset);
        if (more > given_back)
            return failed(ENOSPC);
        given_back -= more;
    }
    if (++counts[WRITES] == plan.torn_write) {
        *deadly = 1;
        if (take > (size_t)plan.torn_bytes)
            take = (size_t)plan.torn_bytes;
    }
    if (plan.no_space >= 0) {
        long left = plan.no_space - counts[BYTES];
        if (left <= 0)
            return failed(ENOSPC);
        if (take > (size_t)left)
            take = (size_t)left;
    }
    counts[BYTES] += (long)take;
    pthread_mutex_unlock(&guard);
    return (ssize_t)take;
}

#define REAL(type, name) \
    static type real; \
    if (!real) \
        real = (type)dlsym(RTLD_NEXT, name)

typedef int (*sync_function)(int);
typedef ssize_t (*write_function)(int, const void *, size_t);
typedef ssize_t (*pwrite_function)(int, const void *, size_t, off_t);

int fsync(int fd)
{
    REAL(sync_function, "fsync");
    return sync_file(fd, real);
}

int fdatasync(int fd)
{
    REAL(sync_function, "fdatasync");
    return sync_file(fd, real);
}

ssize_t write(int fd, const void *data, size_t count)
{
    REAL(write_function, "write");
    int deadly = 0;
    ssize_t take, result;

    if (!concerns(fd))
        return real(fd, data, count);
    take = allowed(fd, count, -1, &deadly);
    if (take < 0)
        return -1;
    result = real(fd, data, (size_t)take);
    if (deadly)
        die();
    return result;
}

static ssize_t write_at(int fd, const void *data, size_t count, off_t offset, pwrite_function real)
{
    int deadly = 0;
    ssize_t take, result;

    if (!concerns(fd))
        return real(fd, data, count, offset);
    take = allowed(fd, count, offset, &deadly);
    if (take < 0)
        return -1;
    result = real(fd, data, (size_t)take, offset);
    if (deadly)
        die();
    return result;
}

ssize_t pwrite(int fd, const void *data, size_t count, off_t offset)
{
    REAL(pwrite_function, "pwrite");
    return write_at(fd, data, count, offset, real);
}

ssize_t pwrite64(int fd, const void *data, size_t count, off_t offset)
{
    REAL(pwrite_function, "pwrite64");
    return write_at(fd, data, count, offset, real);
}

typedef int (*unlink_function)(const char *);

int unlink(const char *path)
{
    REAL(unlink_function, "unlink");
    struct stat file;
    int ours = plan.armed && strncmp(path, plan.path, plan.path_length) == 0 && stat(path, &file) == 0;
    int result = real(path);

    if (result == 0 && ours) {
        pthread_mutex_lock(&guard);
        if (full())
            given_back += (long)file.st_size;
        pthread_mutex_unlock(&guard);
    }
    return result;
}
