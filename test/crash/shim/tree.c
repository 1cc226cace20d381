#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shim.h"

#define DESCRIPTORS 65536
#define BUCKETS 1024

const char* treePath;

static Inode* tracked[DESCRIPTORS];
static Inode* inodes[BUCKETS];
static unsigned directories;
static pthread_mutex_t inodesMutex = PTHREAD_MUTEX_INITIALIZER;

// Makes "/a//b/./c/../d" into "/a/b/d".
static void normalize(char* path) {
  char* to = path;
  for (const char* at = path; *at != 0;) {
    while (*at == '/') at++;
    const size_t length = strcspn(at, "/");
    if (length == 0) break;
    if (length == 2 && strncmp(at, "..", 2) == 0) {
      while (to > path && *--to != '/') {
      }
    } else if (length != 1 || *at != '.') {
      *to++ = '/';
      memmove(to, at, length);
      to += length;
    }
    at += length;
  }
  *to = 0;
}

bool inTree(int directory, const char* path, char relative[MOST_PATH]) {
  if (treePath == NULL || path == NULL) return false;
  char whole[2 * MOST_PATH];
  if (path[0] == '/') {
    if (strlen(path) >= MOST_PATH) return false;
    strcpy(whole, path);
  } else {
    char base[MOST_PATH];
    if (directory == AT_FDCWD) {
      if (getcwd(base, sizeof base) == NULL) return false;
    } else {
      char link[64];
      snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
      const ssize_t length = readlink(link, base, sizeof base - 1);
      if (length < 0) return false;
      base[length] = 0;
    }
    if (snprintf(whole, sizeof whole, "%s/%s", base, path) >= (int)sizeof whole) return false;
  }
  normalize(whole);
  const size_t length = strlen(treePath);
  if (strncmp(whole, treePath, length) != 0 || (whole[length] != '/' && whole[length] != 0)) return false;
  const char* rest = whole[length] == '/' ? whole + length + 1 : whole + length;
  if (strlen(rest) >= MOST_PATH) return false;
  strcpy(relative, rest);
  return true;
}

Inode* inodeOf(int descriptor) {
  return descriptor < 0 || descriptor >= DESCRIPTORS ? NULL : __atomic_load_n(&tracked[descriptor], __ATOMIC_ACQUIRE);
}

void track(int descriptor, Inode* inode) {
  if (descriptor >= DESCRIPTORS) abort();
  if (descriptor >= 0) __atomic_store_n(&tracked[descriptor], inode, __ATOMIC_RELEASE);
}

Inode* findInode(ino_t number, bool directory) {
  pthread_mutex_lock(&inodesMutex);
  Inode** at = &inodes[number % BUCKETS];
  while (*at != NULL && (*at)->number != number) at = &(*at)->next;
  if (*at == NULL) {
    *at = calloc(1, sizeof(Inode));
    (*at)->number = number;
    (*at)->directory = directory;
    if (directory) (*at)->id = directories++;
  }
  Inode* inode = *at;
  pthread_mutex_unlock(&inodesMutex);
  return inode;
}

// Its number may be given to another one from now on; descriptors may still name it, so it is not freed.
void forgetDirectory(ino_t number) {
  pthread_mutex_lock(&inodesMutex);
  for (Inode** at = &inodes[number % BUCKETS]; *at != NULL; at = &(*at)->next) {
    if ((*at)->number != number) continue;
    *at = (*at)->next;
    break;
  }
  pthread_mutex_unlock(&inodesMutex);
}
