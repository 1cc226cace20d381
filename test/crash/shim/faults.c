// Faults that a test injects. Each line of the file SHIM_FAULTS is
//   <call> <pattern> <first> <count> <action> <value>
// where the call is open, write, fsync (also fdatasync and msync), ftruncate, fallocate, rename, unlink, link or mkdir,
// or
// "*"; the pattern is one of fnmatch for the path below the tree; the calls from the `first`th on meet it, `count` of
// them (0: all); and the action is error (value: errno), short (value: bytes), delay (value: milliseconds), swallow: the
// call fails, and answers OK, or kill: the process ends before the call. Calls are counted from when the file was read.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shim.h"

#define MOST_RULES 32

typedef struct {
  char call[16], pattern[256], action[16];
  long first, count, value, seen;
} Rule;

static const char* rulesPath;
static Rule rules[MOST_RULES];
static int ruleCount;
static ino_t rulesInode;
static int logFile = -1;
static pthread_mutex_t rulesMutex = PTHREAD_MUTEX_INITIALIZER;

static void readRules(void) {
  struct stat stat;
  if (lstat(rulesPath, &stat) != 0 || stat.st_ino == rulesInode) return;
  char text[65536];
  const int file = REAL(open, rulesPath, O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  const ssize_t length = read(file, text, sizeof text - 1);
  // Kept open: its number may not be given to the file that replaces it.
  if (length < 0) return;
  text[length] = 0;
  rulesInode = stat.st_ino;
  ruleCount = 0;
  for (char *rest = text, *line; ruleCount < MOST_RULES && (line = strtok_r(rest, "\n", &rest)) != NULL;) {
    Rule* rule = &rules[ruleCount];
    rule->seen = 0;
    if (sscanf(line, "%15s %255s %ld %ld %15s %ld", rule->call, rule->pattern, &rule->first, &rule->count, rule->action,
               &rule->value) == 6) {
      ruleCount++;
    }
  }
}

static void logLine(const char* what, const char* call, const char* relative, unsigned long inode, int result) {
  if (logFile < 0) return;
  char line[MOST_PATH + 128];
  const int length = snprintf(line, sizeof line, "%s %s %d %lu %s\n", what, call, result, inode, relative);
  if (REAL(write, logFile, line, length) != length) abort();
}

Fault faultOf(const char* call, const char* relative) {
  Fault fault = {PASS, 0};
  if (rulesPath == NULL) return fault;
  long delay = 0;
  pthread_mutex_lock(&rulesMutex);
  readRules();
  for (int i = 0; i < ruleCount; i++) {
    Rule* rule = &rules[i];
    if (strcmp(rule->call, "*") != 0 && strcmp(rule->call, call) != 0) continue;
    if (fnmatch(rule->pattern, relative, 0) != 0) continue;
    rule->seen++;
    if (rule->seen < rule->first || (rule->count != 0 && rule->seen >= rule->first + rule->count)) continue;
    if (strcmp(rule->action, "kill") == 0) {
      raise(SIGKILL);
    } else if (strcmp(rule->action, "delay") == 0) {
      delay += rule->value;
    } else if (fault.action == PASS) {
      fault.action = strcmp(rule->action, "error") == 0 ? FAIL : strcmp(rule->action, "short") == 0 ? SHORT : SWALLOW;
      fault.value = rule->value;
      logLine("fault", call, relative, 0, (int)rule->value);
    }
  }
  pthread_mutex_unlock(&rulesMutex);
  if (delay != 0) {
    const struct timespec pause = {delay / 1000, delay % 1000 * 1000000};
    nanosleep(&pause, NULL);
  }
  return fault;
}

void logSync(const char* call, const Inode* inode, int result) {
  logLine("sync", call, inode->path, inode->number, result);
}

void startFaults(void) {
  rulesPath = getenv("SHIM_FAULTS");
  const char* path = getenv("SHIM_LOG");
  if (path != NULL) logFile = REAL(open, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}
