// A library for LD_PRELOAD that stands between a server and the files of one directory tree. It keeps beside the tree
// what of it would survive a power cut (durable.c), and makes calls fail, fall short or take long (faults.c).
//
// Environment:
//   SHIM_TREE    the tree's absolute path; without it the library does nothing
//   SHIM_STATE   an empty directory on the same file system: receives what is durable, see durable.c
//   SHIM_IGNORE  "files": fsync of a file answers OK and does nothing; "directories"; "all"; a planted fault
//   SHIM_FAULTS  a file with the faults to inject, see faults.c; read again whenever it is replaced
//   SHIM_LOG     a file that receives a line for each sync and each injected fault
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define MOST_PATH 4096

// ---- tree.c: which descriptors and paths belong to the tree

typedef struct Inode {
  ino_t number;
  bool directory;
  bool writeThrough;         // opened with O_SYNC or O_DSYNC
  bool mapped;               // shared and writable in memory: may change without a call
  off_t dirtyFrom, dirtyTo;  // what was written since the last sync, from the first byte to behind the last
  unsigned id;               // of a directory: names it in the journal
  char path[MOST_PATH];      // the last name it was opened by, below the tree
  struct Inode* next;
} Inode;

extern const char* treePath;  // NULL: the library does nothing

// The path below the tree ("" is the tree itself) of one given to a call; false when it is not in the tree.
bool inTree(int directory, const char* path, char relative[MOST_PATH]);
// The inode behind an open descriptor of the tree, else NULL.
Inode* inodeOf(int descriptor);
Inode* findInode(ino_t number, bool directory);
void forgetDirectory(ino_t number);
void track(int descriptor, Inode* inode);

// ---- durable.c: what survives a power cut. Namespace operations are called within `lockNames`.

void startDurable(void);
void lockNames(void);
void unlockNames(void);
// Before a file that is there already is opened for writing.
void beforeWriting(const char* relative);
void named(const char* relative, Inode* inode);
void unnamed(const char* relative);
void renamed(const char* from, const char* to);
void written(Inode* inode, off_t from, off_t to);
// False: the sync failed, and what it should have made durable is lost for good, whatever is synced later.
void synced(Inode* inode, bool succeeded);

// ---- faults.c

enum { PASS, FAIL, SHORT, SWALLOW };
typedef struct {
  int action;  // FAIL: answer -1 with `value` as errno; SHORT: do only `value` bytes; SWALLOW: fail, but answer OK
  long value;
} Fault;

void startFaults(void);
// What is to happen to this call; delays are over when it answers.
Fault faultOf(const char* call, const char* relative);
void logSync(const char* call, const Inode* inode, int result);

// ---- calls.c

// The C library's function of this name.
#define REAL(name, ...)                                                  \
  ({                                                                     \
    static __typeof__(&name) real;                                       \
    if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
    real(__VA_ARGS__);                                                   \
  })
