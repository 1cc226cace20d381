// The calls that stand in for those of the C library.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "shim.h"

#define EXPORT __attribute__((visibility("default")))
#define WHOLE ((off_t)1 << 62)

__attribute__((constructor)) static void start(void) {
  const char* path = getenv("SHIM_TREE");
  if (path == NULL) return;
  treePath = path;
  startFaults();
  startDurable();
}

// Answers from the calling function with the fault, if this call is to meet one that ends it at once.
#define FAIL_IF_TOLD(call, relative)            \
  do {                                          \
    const Fault told = faultOf(call, relative); \
    if (told.action == FAIL) {                  \
      errno = (int)told.value;                  \
      return -1;                                \
    }                                           \
  } while (0)

// ---- open and close

static int opened(int descriptor, const char* relative, bool isNew, int flags) {
  struct stat stat;
  if (fstat(descriptor, &stat) != 0 || !(S_ISREG(stat.st_mode) || S_ISDIR(stat.st_mode))) return descriptor;
  Inode* inode = findInode(stat.st_ino, S_ISDIR(stat.st_mode));
  strcpy(inode->path, relative);
  if ((flags & (O_SYNC | O_DSYNC)) != 0) inode->writeThrough = true;
  track(descriptor, inode);
  if (isNew) {
    named(relative, inode);
    beforeWriting(relative);  // it is empty: and so it is durable
  } else if ((flags & O_TRUNC) != 0) {
    written(inode, 0, WHOLE);
  }
  return descriptor;
}

static int openIn(int directory, const char* path, int flags, mode_t mode) {
  char relative[MOST_PATH];
  if (!inTree(directory, path, relative)) {
    const int descriptor = REAL(openat, directory, path, flags, mode);
    track(descriptor, NULL);
    return descriptor;
  }
  const bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) != 0;
  if (writes) FAIL_IF_TOLD("open", relative);
  lockNames();
  const bool isNew = (flags & O_CREAT) != 0 && faccessat(directory, path, F_OK, 0) != 0;
  if (writes && !isNew) beforeWriting(relative);
  int descriptor = REAL(openat, directory, path, flags, mode);
  if (descriptor >= 0) descriptor = opened(descriptor, relative, isNew, flags);
  unlockNames();
  return descriptor;
}

static mode_t modeOf(int flags, va_list arguments) {
  return (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}
#define MODE(flags)                             \
  va_list arguments;                            \
  va_start(arguments, flags);                   \
  const mode_t mode = modeOf(flags, arguments); \
  va_end(arguments)

EXPORT int open(const char* path, int flags, ...) {
  MODE(flags);
  return openIn(AT_FDCWD, path, flags, mode);
}
EXPORT int open64(const char* path, int flags, ...) {
  MODE(flags);
  return openIn(AT_FDCWD, path, flags, mode);
}
EXPORT int openat(int directory, const char* path, int flags, ...) {
  MODE(flags);
  return openIn(directory, path, flags, mode);
}
EXPORT int openat64(int directory, const char* path, int flags, ...) {
  MODE(flags);
  return openIn(directory, path, flags, mode);
}
EXPORT int creat(const char* path, mode_t mode) { return openIn(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
EXPORT int creat64(const char* path, mode_t mode) { return openIn(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

EXPORT int close(int descriptor) {
  track(descriptor, NULL);
  return REAL(close, descriptor);
}
EXPORT int fclose(FILE* stream) {
  track(fileno(stream), NULL);
  return REAL(fclose, stream);
}
EXPORT int dup(int descriptor) {
  const int copy = REAL(dup, descriptor);
  track(copy, inodeOf(descriptor));
  return copy;
}
EXPORT int dup2(int descriptor, int as) {
  const int copy = REAL(dup2, descriptor, as);
  track(copy, inodeOf(descriptor));
  return copy;
}
EXPORT int dup3(int descriptor, int as, int flags) {
  const int copy = REAL(dup3, descriptor, as, flags);
  track(copy, inodeOf(descriptor));
  return copy;
}

static int control(int descriptor, int command, void* argument) {
  const int answer = REAL(fcntl, descriptor, command, argument);
  if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) track(answer, inodeOf(descriptor));
  return answer;
}
#define POINTER(after)                            \
  va_list arguments;                              \
  va_start(arguments, after);                     \
  void* const pointer = va_arg(arguments, void*); \
  va_end(arguments)

EXPORT int fcntl(int descriptor, int command, ...) {
  POINTER(command);
  return control(descriptor, command, pointer);
}
EXPORT int fcntl64(int descriptor, int command, ...) {
  POINTER(command);
  return control(descriptor, command, pointer);
}

// ---- writes

// A write of `length` bytes; `at` -1: where the descriptor stands. The fault may shorten it.
#define WRITE(descriptor, length, at, shortened, whole)                                        \
  do {                                                                                         \
    Inode* const inode = inodeOf(descriptor);                                                  \
    if (inode == NULL) return whole;                                                           \
    const Fault fault = faultOf("write", inode->path);                                         \
    if (fault.action == FAIL) {                                                                \
      errno = (int)fault.value;                                                                \
      return -1;                                                                               \
    }                                                                                          \
    if (fault.action == SWALLOW) return (ssize_t)(length);                                     \
    const size_t most = (size_t)fault.value;                                                   \
    const ssize_t done = fault.action == SHORT && most < (size_t)(length) ? shortened : whole; \
    if (done > 0) {                                                                            \
      const off_t end = (at) < 0 ? lseek(descriptor, 0, SEEK_CUR) : (at) + done;               \
      written(inode, end - done, end);                                                         \
    }                                                                                          \
    return done;                                                                               \
  } while (0)

EXPORT ssize_t write(int descriptor, const void* bytes, size_t length) {
  WRITE(descriptor, length, -1, REAL(write, descriptor, bytes, most), REAL(write, descriptor, bytes, length));
}
EXPORT ssize_t pwrite(int descriptor, const void* bytes, size_t length, off_t at) {
  WRITE(descriptor, length, at, REAL(pwrite, descriptor, bytes, most, at), REAL(pwrite, descriptor, bytes, length, at));
}
EXPORT ssize_t pwrite64(int descriptor, const void* bytes, size_t length, off_t at) {
  return pwrite(descriptor, bytes, length, at);
}

static struct iovec firstOf(const struct iovec* parts, size_t most) {
  return (struct iovec){parts->iov_base, most < parts->iov_len ? most : parts->iov_len};
}
static size_t lengthOf(const struct iovec* parts, int count) {
  size_t length = 0;
  for (int i = 0; i < count; i++) length += parts[i].iov_len;
  return length;
}
EXPORT ssize_t writev(int descriptor, const struct iovec* parts, int count) {
  WRITE(descriptor, lengthOf(parts, count), -1, ({
          const struct iovec first = firstOf(parts, most);
          REAL(writev, descriptor, &first, 1);
        }),
        REAL(writev, descriptor, parts, count));
}
EXPORT ssize_t pwritev(int descriptor, const struct iovec* parts, int count, off_t at) {
  WRITE(descriptor, lengthOf(parts, count), at, ({
          const struct iovec first = firstOf(parts, most);
          REAL(pwritev, descriptor, &first, 1, at);
        }),
        REAL(pwritev, descriptor, parts, count, at));
}
EXPORT ssize_t pwritev64(int descriptor, const struct iovec* parts, int count, off_t at) {
  return pwritev(descriptor, parts, count, at);
}

EXPORT ssize_t sendfile(int to, int from, off_t* at, size_t length) {
  const ssize_t done = REAL(sendfile, to, from, at, length);
  Inode* const inode = inodeOf(to);
  if (inode != NULL && done > 0) written(inode, 0, WHOLE);
  return done;
}
EXPORT ssize_t sendfile64(int to, int from, off_t* at, size_t length) { return sendfile(to, from, at, length); }

// Ways around the calls of this file are closed: who tries them takes another.
EXPORT ssize_t copy_file_range(int from, off_t* fromAt, int to, off_t* toAt, size_t length, unsigned flags) {
  if (inodeOf(to) == NULL) return REAL(copy_file_range, from, fromAt, to, toAt, length, flags);
  errno = ENOSYS;
  return -1;
}
EXPORT long syscall(long number, ...) {
  va_list arguments;
  va_start(arguments, number);
  long value[6];
  for (int i = 0; i < 6; i++) value[i] = va_arg(arguments, long);
  va_end(arguments);
  if (number == SYS_close) track((int)value[0], NULL);  // as Node.js closes files
  if (treePath != NULL && (number == SYS_io_uring_setup || number == SYS_copy_file_range)) {
    errno = ENOSYS;
    return -1;
  }
  return REAL(syscall, number, value[0], value[1], value[2], value[3], value[4], value[5]);
}

// ---- lengths

EXPORT int ftruncate(int descriptor, off_t length) {
  Inode* const inode = inodeOf(descriptor);
  if (inode != NULL) FAIL_IF_TOLD("ftruncate", inode->path);
  const int answer = REAL(ftruncate, descriptor, length);
  if (inode != NULL && answer == 0) written(inode, 0, WHOLE);
  return answer;
}
EXPORT int ftruncate64(int descriptor, off_t length) { return ftruncate(descriptor, length); }

EXPORT int truncate(const char* path, off_t length) {
  const int descriptor = open(path, O_WRONLY | O_CLOEXEC);
  if (descriptor < 0) return -1;
  const int answer = ftruncate(descriptor, length);
  close(descriptor);
  return answer;
}
EXPORT int truncate64(const char* path, off_t length) { return truncate(path, length); }

EXPORT int fallocate(int descriptor, int mode, off_t at, off_t length) {
  Inode* const inode = inodeOf(descriptor);
  if (inode != NULL) FAIL_IF_TOLD("fallocate", inode->path);
  const int answer = REAL(fallocate, descriptor, mode, at, length);
  if (inode != NULL && answer == 0 && mode != FALLOC_FL_KEEP_SIZE) written(inode, 0, WHOLE);
  return answer;
}
EXPORT int fallocate64(int descriptor, int mode, off_t at, off_t length) {
  return fallocate(descriptor, mode, at, length);
}
EXPORT int posix_fallocate(int descriptor, off_t at, off_t length) {
  return fallocate(descriptor, 0, at, length) == 0 ? 0 : errno;
}
EXPORT int posix_fallocate64(int descriptor, off_t at, off_t length) { return posix_fallocate(descriptor, at, length); }

EXPORT void* mmap(void* address, size_t length, int protection, int flags, int descriptor, off_t at) {
  Inode* const inode = inodeOf(descriptor);
  if (inode != NULL && (flags & MAP_TYPE) != MAP_PRIVATE && (protection & PROT_WRITE) != 0) inode->mapped = true;
  return (void*)REAL(syscall, SYS_mmap, address, length, protection, flags, descriptor, at);
}
EXPORT void* mmap64(void* address, size_t length, int protection, int flags, int descriptor, off_t at) {
  return mmap(address, length, protection, flags, descriptor, at);
}

// ---- syncs

static int sync_(const char* call, int descriptor) {
  Inode* const inode = inodeOf(descriptor);
  if (inode == NULL) return strcmp(call, "fsync") == 0 ? REAL(fsync, descriptor) : REAL(fdatasync, descriptor);
  const Fault fault = faultOf("fsync", inode->path);
  // The machine stays up: pages are safe where they are, so the disk is spared.
  const int answer = fault.action == FAIL ? -1 : 0;
  synced(inode, fault.action != FAIL && fault.action != SWALLOW);
  logSync(call, inode, answer);
  if (answer != 0) errno = (int)fault.value;
  return answer;
}
EXPORT int fsync(int descriptor) { return sync_("fsync", descriptor); }
EXPORT int fdatasync(int descriptor) { return sync_("fdatasync", descriptor); }

// ---- names

static int made(int directory, const char* path, const char* relative) {
  struct stat stat;
  if (fstatat(directory, path, &stat, AT_SYMLINK_NOFOLLOW) == 0) {
    named(relative, findInode(stat.st_ino, S_ISDIR(stat.st_mode)));
  }
  return 0;
}

EXPORT int mkdirat(int directory, const char* path, mode_t mode) {
  char relative[MOST_PATH];
  if (!inTree(directory, path, relative)) return REAL(mkdirat, directory, path, mode);
  FAIL_IF_TOLD("mkdir", relative);
  lockNames();
  int answer = REAL(mkdirat, directory, path, mode);
  if (answer == 0) answer = made(directory, path, relative);
  unlockNames();
  return answer;
}
EXPORT int mkdir(const char* path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

EXPORT int linkat(int fromDirectory, const char* from, int toDirectory, const char* to, int flags) {
  char relative[MOST_PATH];
  if (!inTree(toDirectory, to, relative)) return REAL(linkat, fromDirectory, from, toDirectory, to, flags);
  FAIL_IF_TOLD("link", relative);
  lockNames();
  int answer = REAL(linkat, fromDirectory, from, toDirectory, to, flags);
  if (answer == 0) answer = made(toDirectory, to, relative);
  unlockNames();
  return answer;
}
EXPORT int link(const char* from, const char* to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

EXPORT int renameat2(int fromDirectory, const char* from, int toDirectory, const char* to, unsigned flags) {
  char relativeFrom[MOST_PATH], relativeTo[MOST_PATH];
  const bool out = inTree(fromDirectory, from, relativeFrom), in = inTree(toDirectory, to, relativeTo);
  if (!out && !in) return REAL(renameat2, fromDirectory, from, toDirectory, to, flags);
  FAIL_IF_TOLD("rename", in ? relativeTo : relativeFrom);
  lockNames();
  const int answer = REAL(renameat2, fromDirectory, from, toDirectory, to, flags);
  if (answer == 0 && in && out) renamed(relativeFrom, relativeTo);
  if (answer == 0 && in && !out) made(toDirectory, to, relativeTo);
  if (answer == 0 && out && !in) unnamed(relativeFrom);
  unlockNames();
  return answer;
}
EXPORT int renameat(int fromDirectory, const char* from, int toDirectory, const char* to) {
  return renameat2(fromDirectory, from, toDirectory, to, 0);
}
EXPORT int rename(const char* from, const char* to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

EXPORT int unlinkat(int directory, const char* path, int flags) {
  char relative[MOST_PATH];
  if (!inTree(directory, path, relative)) return REAL(unlinkat, directory, path, flags);
  FAIL_IF_TOLD("unlink", relative);
  lockNames();
  struct stat stat;
  const bool known = fstatat(directory, path, &stat, AT_SYMLINK_NOFOLLOW) == 0;
  const int answer = REAL(unlinkat, directory, path, flags);
  if (answer == 0) unnamed(relative);
  if (answer == 0 && known && S_ISDIR(stat.st_mode)) forgetDirectory(stat.st_ino);
  unlockNames();
  return answer;
}
EXPORT int unlink(const char* path) { return unlinkat(AT_FDCWD, path, 0); }
EXPORT int rmdir(const char* path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
EXPORT int remove(const char* path) {
  if (unlink(path) == 0) return 0;
  return errno == EISDIR ? rmdir(path) : -1;
}
