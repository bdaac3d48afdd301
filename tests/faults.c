// Fails a call that writes below a folder, as a full or a broken disk does.
//
// Loaded before the C library (LD_PRELOAD), so that also what other libraries write
// passes here. The calls that need room, or the disk to answer, are counted from
// `faults_begin` on: new files and folders, writes, renames and syncs.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX];
static long first, last, calls;
static FILE *told;
static pthread_mutex_t alone = PTHREAD_MUTEX_INITIALIZER;

// The calls from one to another fail, counted from 1, of those below a folder; each is
// a line of a log.
void faults_begin(const char *folder, long from, long to, const char *log) {
  told = fopen(log, "w");
  first = from;
  last = to;
  snprintf(root, sizeof root, "%s/", folder);
}

static int fails(const char *call, const char *path, int error) {
  if (!root[0] || strncmp(path, root, strlen(root))) return 0;
  pthread_mutex_lock(&alone);
  int failing = ++calls >= first && calls <= last;
  fprintf(told, "%s %s %s\n", failing ? "failed" : "done", call, path + strlen(root));
  fflush(told);
  pthread_mutex_unlock(&alone);
  if (failing) errno = error;
  return failing;
}

static int fails_in(const char *call, int folder, const char *name, int error) {
  char place[64], path[2 * PATH_MAX] = "";
  ssize_t size = 0;
  if (!root[0]) return 0;
  if (name[0] != '/') {
    if (folder == AT_FDCWD) snprintf(place, sizeof place, "/proc/self/cwd");
    else snprintf(place, sizeof place, "/proc/self/fd/%d", folder);
    size = readlink(place, path, PATH_MAX);
    if (size < 0) return 0;
    path[size++] = '/';
  }
  snprintf(path + size, sizeof path - size, "%s", name);
  return fails(call, path, error);
}

static int fails_at(const char *call, int file, int error) {
  char place[64], path[PATH_MAX] = "";
  if (!root[0]) return 0;
  snprintf(place, sizeof place, "/proc/self/fd/%d", file);
  if (readlink(place, path, sizeof path - 1) < 0) return 0;
  return fails(call, path, error);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPENAT(name)                                                                \
  int name(int folder, const char *path, int flags, ...) {                          \
    mode_t mode = 0;                                                                \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                          \
      va_list rest;                                                                 \
      va_start(rest, flags);                                                        \
      mode = va_arg(rest, mode_t);                                                  \
      va_end(rest);                                                                 \
    }                                                                               \
    if (root[0] && flags & O_CREAT && faccessat(folder, path, F_OK, 0) &&           \
        fails_in("open", folder, path, ENOSPC))                                     \
      return -1;                                                                    \
    return REAL(name)(folder, path, flags, mode);                                   \
  }
OPENAT(openat)
OPENAT(openat64)

#define OPEN(name)                                                                  \
  int name(const char *path, int flags, ...) {                                      \
    mode_t mode = 0;                                                                \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                          \
      va_list rest;                                                                 \
      va_start(rest, flags);                                                        \
      mode = va_arg(rest, mode_t);                                                  \
      va_end(rest);                                                                 \
    }                                                                               \
    return openat(AT_FDCWD, path, flags, mode);                                     \
  }
OPEN(open)
OPEN(open64)

#define AT_FILE(name, type, error, parameters, arguments)                           \
  type name parameters {                                                            \
    return fails_at(#name, file, error) ? -1 : REAL(name) arguments;                \
  }
AT_FILE(write, ssize_t, ENOSPC, (int file, const void *data, size_t size), (file, data, size))
AT_FILE(pwrite, ssize_t, ENOSPC, (int file, const void *data, size_t size, off_t at),
        (file, data, size, at))
AT_FILE(pwrite64, ssize_t, ENOSPC, (int file, const void *data, size_t size, off64_t at),
        (file, data, size, at))
AT_FILE(writev, ssize_t, ENOSPC, (int file, const struct iovec *data, int count),
        (file, data, count))
AT_FILE(pwritev, ssize_t, ENOSPC, (int file, const struct iovec *data, int count, off_t at),
        (file, data, count, at))
AT_FILE(ftruncate, int, ENOSPC, (int file, off_t size), (file, size))
AT_FILE(ftruncate64, int, ENOSPC, (int file, off64_t size), (file, size))
AT_FILE(fsync, int, EIO, (int file), (file))
AT_FILE(fdatasync, int, EIO, (int file), (file))

int mkdirat(int folder, const char *path, mode_t mode) {
  // One that is there already takes no room.
  if (root[0] && faccessat(folder, path, F_OK, 0) &&
      fails_in("mkdir", folder, path, ENOSPC))
    return -1;
  return REAL(mkdirat)(folder, path, mode);
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int renameat2(int from, const char *old, int to, const char *new, unsigned int flags) {
  if (fails_in("rename", to, new, ENOSPC)) return -1;
  return REAL(renameat2)(from, old, to, new, flags);
}
int renameat(int from, const char *old, int to, const char *new) {
  return renameat2(from, old, to, new, 0);
}
int rename(const char *old, const char *new) {
  return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0);
}

int linkat(int from, const char *old, int to, const char *new, int flags) {
  if (fails_in("link", to, new, ENOSPC)) return -1;
  return REAL(linkat)(from, old, to, new, flags);
}
int link(const char *old, const char *new) {
  return linkat(AT_FDCWD, old, AT_FDCWD, new, 0);
}
