// Reads of many entries at once. They run on any thread of a store.
#pragma once

#include "rocksdb-store.h"

namespace quiver {

// Layout as in native/rocksdb.ts.
struct Entries {
  Bytes data;
  std::vector<uint32_t> entries;
  bool done = false;

  void add(rocksdb::Slice key, rocksdb::Slice value);
  void addAbsent();
};

struct Range {
  std::string gte;
  std::optional<std::string> lt;
  size_t limit = 100000;
  size_t maxBytes = size_t{4} << 20;
  bool keysOnly = false;
};

// One chunk of a range; `snapshot` may be null.
Entries scanRange(Store& store, const Family& family, const Range& range, const ReadSnapshot* snapshot);

// Key i ends at ends[i] and starts where the one before it ends.
struct Keys {
  std::string bytes;
  std::vector<size_t> ends;
};

// In the default family of a database that is not open; changes nothing there.
Entries peekAt(const std::string& path, const Keys& keys);

Entries lookUp(Store& store, const Family& family, const Keys& keys, const ReadSnapshot* snapshot);

}  // namespace quiver
