#include "rocksdb-read.h"

#include <algorithm>

namespace quiver {
namespace {

constexpr size_t mostAnswerBytes = size_t{1} << 30;
constexpr uint32_t absent = 0xffffffff;

}  // namespace

void Entries::add(rocksdb::Slice key, rocksdb::Slice value) {
  const size_t keyAt = data.size();
  data.append(key.data(), key.size());
  if (value.size() != 0) data.alignTo8();
  const size_t valueAt = value.size() == 0 ? 0 : data.size();
  data.append(value.data(), value.size());
  for (const size_t number : {keyAt, key.size(), valueAt, value.size()}) {
    entries.push_back(static_cast<uint32_t>(number));
  }
}

void Entries::addAbsent() { entries.insert(entries.end(), {0, 0, absent, 0}); }

Entries scanRange(Store& store, const Family& family, const Range& range, const ReadSnapshot* snapshot) {
  Entries chunk;
  chunk.done = true;
  if (range.lt && range.gte >= *range.lt) return chunk;
  rocksdb::ReadOptions options;
  if (snapshot != nullptr) options.snapshot = snapshot->held;
  if (range.maxBytes > size_t{1} << 20) {  // a large scan: keep the cache for others, read ahead
    options.fill_cache = false;
    options.readahead_size = size_t{1} << 20;
  }
  rocksdb::Slice end;
  if (range.lt) {
    end = *range.lt;
    options.iterate_upper_bound = &end;
  }
  const std::unique_ptr<rocksdb::Iterator> iterator(store.db().NewIterator(options, family.handle));
  for (iterator->Seek(range.gte); iterator->Valid(); iterator->Next()) {
    if (chunk.entries.size() / 4 >= range.limit || chunk.data.size() >= range.maxBytes) {
      chunk.done = false;
      break;
    }
    chunk.add(iterator->key(), range.keysOnly ? rocksdb::Slice() : iterator->value());
  }
  store.check(iterator->status(), "scan");
  return chunk;
}

Entries lookUp(Store& store, const Family& family, const Keys& keys, const ReadSnapshot* snapshot) {
  constexpr size_t most = 128;  // values that RocksDB pins at once
  Entries answer;
  answer.entries.reserve(keys.ends.size() * 4);
  rocksdb::ReadOptions options;
  // Several rounds must see one state.
  const rocksdb::Snapshot* own = nullptr;
  if (snapshot != nullptr) {
    options.snapshot = snapshot->held;
  } else if (keys.ends.size() > most) {
    options.snapshot = own = store.db().GetSnapshot();
  }
  auto release = [&store](const rocksdb::Snapshot* held) { store.db().ReleaseSnapshot(held); };
  const std::unique_ptr<const rocksdb::Snapshot, decltype(release)> releasing(own, release);
  for (size_t first = 0; first < keys.ends.size(); first += most) {
    const size_t count = std::min(most, keys.ends.size() - first);
    std::vector<rocksdb::Slice> slices;
    for (size_t i = first; i < first + count; i++) {
      const size_t start = i == 0 ? 0 : keys.ends[i - 1];
      slices.emplace_back(keys.bytes.data() + start, keys.ends[i] - start);
    }
    std::vector<rocksdb::PinnableSlice> values(count);
    std::vector<rocksdb::Status> statuses(count);
    store.db().MultiGet(options, family.handle, count, slices.data(), values.data(), statuses.data());
    for (size_t i = 0; i < count; i++) {
      if (statuses[i].IsNotFound()) {
        answer.addAbsent();
        continue;
      }
      store.check(statuses[i], "look up a key");
      if (answer.data.size() + values[i].size() > mostAnswerBytes) {
        invalid("Values of the keys are more than 1 GiB together: ask for fewer keys at once");
      }
      answer.add(rocksdb::Slice(), values[i]);
    }
  }
  return answer;
}

}  // namespace quiver
