// What survives a power cut. The directory SHIM_STATE receives
//   journal     one line for each change of a directory, in their order:
//                 "N <directory> <f or d> <inode, or id of the directory> <name>"  has a new name
//                 "U <directory> <name>"                                           has lost one
//                 "R <directory> <other directory> <name>\t<other name>"           renamed
//                 "S <directory>"                                                  all above are durable
//               The tree itself is directory 0.
//   live/I      another name of the file with inode I: keeps what it holds, and its number from being given again
//   durable/I   what of it is durable; absent while it was never opened for writing: then all of it is
// and test/crash/shim/power-cut.ts makes the tree anew from it.
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shim.h"

static const char* state;
static bool ignoreFiles, ignoreDirectories;
static int journal;
static pthread_mutex_t namesMutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t dirtyMutex = PTHREAD_MUTEX_INITIALIZER;

void lockNames(void) { pthread_mutex_lock(&namesMutex); }
void unlockNames(void) { pthread_mutex_unlock(&namesMutex); }

static _Noreturn void die(const char* what) {
  dprintf(2, "shim: cannot %s: %m\n", what);
  abort();
}

static void record(const char* line, int length) {
  if (REAL(write, journal, line, length) != length) die("write the journal");
}
#define RECORD(...)                                         \
  do {                                                      \
    char line[2 * MOST_PATH];                               \
    record(line, snprintf(line, sizeof line, __VA_ARGS__)); \
  } while (0)

static void pathInState(char path[MOST_PATH], const char* kind, ino_t number) {
  snprintf(path, MOST_PATH, "%s/%s/%lu", state, kind, (unsigned long)number);
}

static int openDurable(ino_t number, int flags) {
  char path[MOST_PATH];
  pathInState(path, "durable", number);
  return REAL(open, path, flags | O_CLOEXEC, 0644);
}

static int openLive(ino_t number) {
  char path[MOST_PATH];
  pathInState(path, "live", number);
  const int live = REAL(open, path, O_RDONLY | O_CLOEXEC);
  if (live < 0) die("open a file of the tree");
  return live;
}

static void copyRange(int from, int to, off_t at, off_t end) {
  char bytes[65536];
  while (at < end) {
    const size_t most = end - at < (off_t)sizeof bytes ? (size_t)(end - at) : sizeof bytes;
    const ssize_t length = pread(from, bytes, most, at);
    if (length < 0) die("read a file of the tree");
    if (length == 0) break;
    if (REAL(pwrite, to, bytes, length, at) != length) die("write what is durable");
    at += length;
  }
}

static void makeDurable(ino_t number, off_t from, off_t to) {
  const int live = openLive(number);
  const int durable = openDurable(number, O_WRONLY | O_CREAT);
  struct stat stat;
  if (durable < 0 || fstat(live, &stat) != 0) die("make a file durable");
  copyRange(live, durable, from, to < stat.st_size ? to : stat.st_size);
  if (REAL(ftruncate, durable, stat.st_size) != 0) die("make a length durable");
  REAL(close, live);
  REAL(close, durable);
}

// The directory that holds this name; the name is what follows the last slash.
static unsigned directoryOf(const char* relative, const char** name) {
  char parent[2 * MOST_PATH];
  const char* slash = strrchr(relative, '/');
  *name = slash == NULL ? relative : slash + 1;
  snprintf(parent, sizeof parent, "%s/%.*s", treePath, slash == NULL ? 0 : (int)(slash - relative), relative);
  struct stat stat;
  if (lstat(parent, &stat) != 0) die("find the directory of a name");
  return findInode(stat.st_ino, true)->id;
}

static void hold(const char* relative, ino_t number) {
  char from[2 * MOST_PATH], to[MOST_PATH];
  snprintf(from, sizeof from, "%s/%s", treePath, relative);
  pathInState(to, "live", number);
  if (access(to, F_OK) != 0 && REAL(link, from, to) != 0) die("hold a file of the tree");
}

void named(const char* relative, Inode* inode) {
  if (state == NULL) return;
  if (!inode->directory) hold(relative, inode->number);
  const char* name;
  const unsigned directory = directoryOf(relative, &name);
  RECORD("N %u %c %lu %s\n", directory, inode->directory ? 'd' : 'f',
         inode->directory ? (unsigned long)inode->id : (unsigned long)inode->number, name);
}

void unnamed(const char* relative) {
  if (state == NULL) return;
  const char* name;
  const unsigned directory = directoryOf(relative, &name);
  RECORD("U %u %s\n", directory, name);
}

void renamed(const char* from, const char* to) {
  if (state == NULL) return;
  const char *fromName, *toName;
  const unsigned fromDirectory = directoryOf(from, &fromName), toDirectory = directoryOf(to, &toName);
  RECORD("R %u %u %s\t%s\n", fromDirectory, toDirectory, fromName, toName);
}

void beforeWriting(const char* relative) {
  if (state == NULL) return;
  char path[2 * MOST_PATH];
  snprintf(path, sizeof path, "%s/%s", treePath, relative);
  struct stat stat;
  if (lstat(path, &stat) != 0 || !S_ISREG(stat.st_mode)) return;
  const int durable = openDurable(stat.st_ino, O_RDONLY);
  if (durable >= 0) {
    REAL(close, durable);
  } else {
    hold(relative, stat.st_ino);
    makeDurable(stat.st_ino, 0, stat.st_size);
  }
}

void written(Inode* inode, off_t from, off_t to) {
  if (state == NULL) return;
  pthread_mutex_lock(&dirtyMutex);
  if (inode->dirtyFrom == inode->dirtyTo) {
    inode->dirtyFrom = from;
    inode->dirtyTo = to;
  } else {
    if (from < inode->dirtyFrom) inode->dirtyFrom = from;
    if (to > inode->dirtyTo) inode->dirtyTo = to;
  }
  pthread_mutex_unlock(&dirtyMutex);
  if (inode->writeThrough) synced(inode, true);
}

void synced(Inode* inode, bool succeeded) {
  if (state == NULL || (inode->directory ? ignoreDirectories : ignoreFiles)) return;
  if (inode->directory) {
    if (!succeeded) return;
    lockNames();
    RECORD("S %u\n", inode->id);
    unlockNames();
    return;
  }
  // Taken before it is copied: what is written meanwhile is left for the next sync.
  pthread_mutex_lock(&dirtyMutex);
  const off_t from = inode->mapped ? 0 : inode->dirtyFrom;
  const off_t to = inode->mapped ? (off_t)1 << 62 : inode->dirtyTo;
  inode->dirtyFrom = inode->dirtyTo = 0;
  pthread_mutex_unlock(&dirtyMutex);
  if (succeeded && from != to) makeDurable(inode->number, from, to);
}

// What stands there at the start is durable.
static void scan(const char* relative, Inode* inode) {
  char path[2 * MOST_PATH];
  snprintf(path, sizeof path, "%s/%s", treePath, relative);
  DIR* directory = opendir(path);
  if (directory == NULL) die("read a directory of the tree");
  for (struct dirent* entry; (entry = readdir(directory)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    char below[MOST_PATH];
    snprintf(below, sizeof below, "%.2000s%s%s", relative, relative[0] == 0 ? "" : "/", entry->d_name);
    Inode* found = findInode(entry->d_ino, entry->d_type == DT_DIR);
    named(below, found);
    if (found->directory) scan(below, found);
  }
  closedir(directory);
  RECORD("S %u\n", inode->id);
}

void startDurable(void) {
  const char* ignore = getenv("SHIM_IGNORE");
  ignoreFiles = ignore != NULL && (strcmp(ignore, "files") == 0 || strcmp(ignore, "all") == 0);
  ignoreDirectories = ignore != NULL && (strcmp(ignore, "directories") == 0 || strcmp(ignore, "all") == 0);
  const char* path = getenv("SHIM_STATE");
  if (path == NULL) return;
  state = path;
  char name[MOST_PATH];
  for (const char* const* kind = (const char* const[]){"live", "durable", NULL}; *kind != NULL; kind++) {
    snprintf(name, sizeof name, "%s/%s", state, *kind);
    if (REAL(mkdir, name, 0755) != 0) die("make a directory in SHIM_STATE");
  }
  snprintf(name, sizeof name, "%s/journal", state);
  journal = REAL(open, name, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
  struct stat stat;
  if (journal < 0 || lstat(treePath, &stat) != 0) die("start the journal");
  scan("", findInode(stat.st_ino, true));
}
