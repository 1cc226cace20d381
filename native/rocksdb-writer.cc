// The writer thread: commits the batches that wait together with one fsync, and what must keep their order.
#include <sys/statvfs.h>

#include <cstring>

#include "rocksdb-store.h"

namespace quiver {
namespace {

constexpr size_t groupBytes = size_t{64} << 20;   // batches that share one fsync
constexpr size_t waitingBytes = size_t{1} << 30;  // batches that wait; more are refused
constexpr size_t recordHeader = 13;
constexpr size_t mostValueBytes = size_t{1} << 30;

uint32_t littleEndian(const char* at) {
  const auto* byte = reinterpret_cast<const unsigned char*>(at);
  return byte[0] | uint32_t{byte[1]} << 8 | uint32_t{byte[2]} << 16 | uint32_t{byte[3]} << 24;
}

}  // namespace

void Store::write(napi_deferred deferred, Bytes batch, uint64_t leastFree) {
  push({deferred, std::move(batch), leastFree, nullptr});
}

void Store::writeCommand(napi_deferred deferred, std::function<Maker()> work) {
  push({deferred, Bytes(), 0, std::move(work)});
}

void Store::push(Job job) {
  std::lock_guard<std::mutex> lock(jobsMutex_);
  if (jobBytes_ + job.batch.size() > waitingBytes && !jobs_.empty()) {
    settler_->settle(job.deferred, rejection(Failure("BUSY", "Cannot write: " + std::to_string(jobBytes_) +
                                                                 " bytes wait to be written already")));
    return;
  }
  jobBytes_ += job.batch.size();
  jobs_.push_back(std::move(job));
  jobsWake_.notify_one();
}

// One command, or the batches up to the next command. False when there is no more work.
bool Store::takeGroup(std::vector<Job>* group) {
  group->clear();
  std::unique_lock<std::mutex> lock(jobsMutex_);
  jobsWake_.wait(lock, [this] { return finishing_ || !jobs_.empty(); });
  size_t bytes = 0;
  while (!jobs_.empty()) {
    Job& next = jobs_.front();
    if (!group->empty() && (next.command || bytes + next.batch.size() > groupBytes)) break;
    bytes += next.batch.size();
    jobBytes_ -= next.batch.size();
    group->push_back(std::move(next));
    jobs_.pop_front();
    if (group->front().command) break;
  }
  return !group->empty();
}

void Store::writeLoop() {
  std::vector<Job> group;
  while (takeGroup(&group)) {
    if (group.front().command) {
      settler_->settle(group.front().deferred, attempt(group.front().command));
      continue;
    }
    try {
      settler_->settle(commit(group));
    } catch (const std::exception& error) {  // out of memory, somewhere
      const Failure failure("IO_ERROR", std::string("Cannot write a batch: ") + error.what());
      failed(failure);
      for (const Job& job : group) settler_->settle(job.deferred, rejection(failure));
    }
  }
}

std::vector<Settlement> Store::commit(const std::vector<Job>& group) {
  std::vector<Settlement> settlements;
  size_t bytes = 0;
  for (const Job& job : group) bytes += job.batch.size();
  rocksdb::WriteBatch merged(bytes + 64);
  std::vector<size_t> accepted;
  const uint64_t free = freeBytes();
  uint64_t needed = 0;
  for (const Job& job : group) {
    Maker outcome = attempt([&]() -> Maker {
      assertWritable();
      if (job.leastFree != 0 && free < job.leastFree + needed + job.batch.size()) {
        throw Failure("DISK_FULL", "Cannot write a batch: the disk has " + std::to_string(free) + " bytes free");
      }
      needed += job.batch.size();
      merged.SetSavePoint();
      try {
        append(job.batch, &merged);
      } catch (...) {
        merged.RollbackToSavePoint();
        throw;
      }
      merged.PopSavePoint();
      accepted.push_back(settlements.size());
      return undefined;
    });
    settlements.push_back({job.deferred, std::move(outcome)});
  }
  if (merged.Count() == 0) return settlements;

  rocksdb::WriteOptions options;
  options.sync = true;
  options.no_slowdown = true;
  // Only this thread drops families, so none can be missing; were one, RocksDB would otherwise stop all writes for
  // good.
  options.ignore_missing_column_families = true;
  const rocksdb::Status status = db_->Write(options, &merged);
  if (status.ok()) return settlements;
  const Failure failure = toFailure(status, "write a batch");
  if (std::strcmp(failure.code(), "BUSY") != 0) failed(failure);
  for (const size_t index : accepted) settlements[index].make = rejection(failure);
  return settlements;
}

// Checks every length before it looks at the bytes; see native/write-batch.ts for the layout.
void Store::append(const Bytes& batch, rocksdb::WriteBatch* merged) {
  std::shared_ptr<Family> family;
  uint32_t familyId = 0;
  const char* at = batch.data();
  const char* const end = at + batch.size();
  while (at != end) {
    if (static_cast<size_t>(end - at) < recordHeader) invalid("Batch ends within the header of a record");
    const uint8_t op = static_cast<uint8_t>(*at);
    const uint32_t id = littleEndian(at + 1);
    const size_t keyBytes = littleEndian(at + 5);
    const size_t valueBytes = littleEndian(at + 9);
    at += recordHeader;
    if (op < 1 || op > 3) invalid("Batch holds the unknown operation " + std::to_string(op));
    if (keyBytes < 1 || keyBytes > mostKeyBytes) {
      invalid("Batch holds a key of " + std::to_string(keyBytes) + " bytes; allowed are 1 to 65535");
    }
    const size_t mostHere = op == 1 ? mostValueBytes : op == 2 ? 0 : mostKeyBytes + 1;
    if (valueBytes > mostHere || (op == 3 && valueBytes == 0)) {
      invalid("Batch holds a value or end of range of " + std::to_string(valueBytes) + " bytes, which is not allowed");
    }
    if (static_cast<size_t>(end - at) < keyBytes + valueBytes) invalid("Batch ends within a record");
    if (!family || id != familyId) {
      family = this->family(id);
      familyId = id;
    }
    const rocksdb::Slice key(at, keyBytes);
    const rocksdb::Slice value(at + keyBytes, valueBytes);
    at += keyBytes + valueBytes;
    if (op == 1) {
      quiver::check(merged->Put(family->handle, key, value), "write a batch");
    } else if (op == 2) {
      quiver::check(merged->Delete(family->handle, key), "write a batch");
    } else {
      const int order = key.compare(value);
      if (order > 0) invalid("Batch holds a range that ends before it starts");
      if (order < 0) quiver::check(merged->DeleteRange(family->handle, key, value), "write a batch");
    }
  }
}

uint32_t Store::createFamily(const std::string& name) {
  assertWritable();
  for (const std::shared_ptr<Family>& family : families()) {
    if (family->handle->GetName() == name) {
      throw Failure("ALREADY_EXISTS", "Cannot create column family \"" + name + "\": it exists already");
    }
  }
  rocksdb::ColumnFamilyHandle* handle = nullptr;
  const rocksdb::Status status = db_->CreateColumnFamily(options_, name, &handle);
  // There may be a handle even so: RocksDB made the family, and then failed. It must be destroyed before the database.
  const auto created = handle == nullptr ? nullptr : std::make_shared<Family>(db_.get(), handle);
  checkWritten(status, "create a column family");
  std::lock_guard<std::mutex> lock(familiesMutex_);
  families_[handle->GetID()] = created;
  return handle->GetID();
}

void Store::dropFamily(uint32_t id) {
  assertWritable();
  const std::shared_ptr<Family> dropped = family(id);
  checkWritten(db_->DropColumnFamily(dropped->handle), "drop a column family");
  std::lock_guard<std::mutex> lock(familiesMutex_);
  families_.erase(id);
}

void Store::checkWritten(const rocksdb::Status& status, const char* doing) {
  if (status.ok()) return;
  const Failure failure = toFailure(status, doing);
  if (std::strcmp(failure.code(), "INVALID_ARGUMENT") != 0) failed(failure);
  check(status, doing);
}

// What the file system says now; where it says nothing, the write itself will tell.
uint64_t Store::freeBytes() const {
  struct statvfs about;
  if (statvfs(config_.path.c_str(), &about) != 0) return UINT64_MAX;
  return uint64_t{about.f_bavail} * about.f_frsize;
}

// RocksDB stops writes after most errors by itself, but not after all, and it may resume by itself.
void Store::assertWritable() {
  std::lock_guard<std::mutex> lock(failureMutex_);
  if (failure_) throw Failure("IO_ERROR", "Cannot write since an earlier write failed: " + *failure_);
}

void Store::failed(const Failure& failure) {
  std::lock_guard<std::mutex> lock(failureMutex_);
  if (!failure_) failure_ = failure.what();
}

}  // namespace quiver
