#include "rocksdb-store.h"

#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/checkpoint.h>

#include <algorithm>
#include <cstring>

namespace quiver {
namespace {

constexpr size_t groupBytes = size_t{64} << 20;   // batches that share one fsync
constexpr size_t waitingBytes = size_t{1} << 30;  // batches that wait; more are refused
constexpr size_t recordHeader = 13;
constexpr size_t mostKeyBytes = 65535;
constexpr size_t mostValueBytes = size_t{1} << 30;

const char* codeOf(const rocksdb::Status& status) {
  using Status = rocksdb::Status;
  switch (status.code()) {
    case Status::kNotFound:
    case Status::kColumnFamilyDropped:
      return "NOT_FOUND";
    case Status::kCorruption:
      return "CORRUPTION";
    case Status::kInvalidArgument:
    case Status::kNotSupported:
      return "INVALID_ARGUMENT";
    case Status::kIOError:
      if (status.subcode() == Status::kNoSpace || status.subcode() == Status::kSpaceLimit) return "NO_SPACE";
      return status.subcode() == Status::kPathNotFound ? "CORRUPTION" : "IO_ERROR";
    case Status::kIncomplete:
      return status.subcode() == Status::kManualCompactionPaused ? "CLOSED" : "BUSY";
    case Status::kBusy:
    case Status::kTimedOut:
    case Status::kTryAgain:
      return "BUSY";
    case Status::kShutdownInProgress:
      return "CLOSED";
    default:
      return "IO_ERROR";
  }
}

uint32_t littleEndian(const char* at) {
  const auto* byte = reinterpret_cast<const unsigned char*>(at);
  return byte[0] | uint32_t{byte[1]} << 8 | uint32_t{byte[2]} << 16 | uint32_t{byte[3]} << 24;
}

Maker rejection(Failure failure) {
  return [failure = std::move(failure)](napi_env) -> napi_value { throw failure; };
}

// What `work` returns, or a maker that throws what it threw.
Maker attempt(const std::function<Maker()>& work) {
  try {
    return work();
  } catch (const Failure& failure) {
    return rejection(failure);
  } catch (const std::bad_alloc&) {
    return [](napi_env) -> napi_value { throw std::bad_alloc(); };
  } catch (const std::exception& error) {
    return rejection(Failure("IO_ERROR", error.what()));
  }
}

// Every store that has not been joined. Never destroyed: other threads may still look at it while the process exits.
struct Registry {
  std::mutex mutex;
  std::vector<std::shared_ptr<Store>> stores;
};
Registry& registry() {
  static auto* const registry = new Registry;
  return *registry;
}

rocksdb::Options toOptions(const StoreOptions& config) {
  rocksdb::Options options;
  options.create_if_missing = config.createIfMissing;
  options.paranoid_checks = true;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.db_write_buffer_size = config.dbWriteBufferBytes;
  options.max_total_wal_size = config.maxTotalWalBytes;
  options.max_bgerror_resume_count = 0;  // a failed fsync is never tried again
  options.write_buffer_size = std::clamp(config.dbWriteBufferBytes / 2, size_t{1} << 20, size_t{64} << 20);
  // More room than by default before writes would have to wait, because waiting is refused (no_slowdown).
  options.max_write_buffer_number = 4;
  options.level0_slowdown_writes_trigger = 40;
  options.level0_stop_writes_trigger = 56;
  options.compression = rocksdb::kNoCompression;
  options.bottommost_compression = rocksdb::kDisableCompressionOption;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.keep_log_file_num = 4;
  options.max_log_file_size = size_t{16} << 20;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(config.blockCacheBytes);
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

// Whether `path` holds a database. RocksDB would make a new one over the files of one that lost its CURRENT file.
bool exists(rocksdb::Env* env, const std::string& path) {
  if (env->FileExists(path + "/CURRENT").ok()) return true;
  std::vector<std::string> names;
  if (!env->GetChildren(path, &names).ok()) return false;
  for (const std::string& name : names) {
    const size_t dot = name.rfind('.');
    const std::string ending = dot == std::string::npos ? "" : name.substr(dot);
    if (ending == ".sst" || ending == ".log") {
      throw Failure("CORRUPTION", "Cannot open \"" + path + "\": the file CURRENT is missing");
    }
  }
  return false;
}

// Fails with LOCKED when the database is open elsewhere, also where that is why other files are in motion.
void assertUnlocked(rocksdb::Env* env, const std::string& path, const std::string& doing) {
  rocksdb::FileLock* lock = nullptr;
  const rocksdb::Status status = env->LockFile(path + "/LOCK", &lock);
  if (status.ok()) {
    env->UnlockFile(lock);
    return;
  }
  const std::string text = status.ToString();
  if (text.find("lock hold by current process") != std::string::npos ||
      text.find("While lock file") != std::string::npos) {
    throw Failure("LOCKED", "Cannot " + doing + ": it is open already, here or in another process");
  }
  throw Failure(status.subcode() == rocksdb::Status::kNoSpace ? "NO_SPACE" : "IO_ERROR",
                "Cannot " + doing + ": " + text);
}

std::vector<std::string> namesOfFamilies(const rocksdb::Options& options, const std::string& path) {
  std::vector<std::string> names;
  check(rocksdb::DB::ListColumnFamilies(options, path, &names), "list the column families");
  return names;
}

}  // namespace

Failure toFailure(const rocksdb::Status& status, const std::string& doing) {
  return {codeOf(status), "Cannot " + doing + ": " + status.ToString()};
}

std::vector<std::string> listFamilies(const std::string& path) {
  rocksdb::Options options;
  if (!exists(options.env, path)) throw Failure("NOT_FOUND", "Cannot find a database in \"" + path + "\"");
  return namesOfFamilies(options, path);
}

// ---- Bytes

void Bytes::reserve(size_t capacity) {
  if (capacity <= capacity_) return;
  capacity = std::max(capacity, capacity_ + capacity_ / 2);
  void* data = std::realloc(data_, capacity);
  if (data == nullptr) throw std::bad_alloc();
  data_ = static_cast<char*>(data);
  capacity_ = capacity;
}

void Bytes::append(const void* data, size_t size) {
  if (size == 0) return;
  reserve(size_ + size);
  std::memcpy(data_ + size_, data, size);
  size_ += size;
}

void Bytes::alignTo8() {
  static constexpr char zeros[8] = {};
  append(zeros, (8 - size_ % 8) % 8);
}

void Bytes::shrink() {
  if (size_ == 0 || capacity_ - size_ <= size_ / 8) return;
  void* data = std::realloc(data_, size_);
  if (data == nullptr) return;
  data_ = static_cast<char*>(data);
  capacity_ = size_;
}

char* Bytes::release() {
  size_ = capacity_ = 0;
  return std::exchange(data_, nullptr);
}

// ---- Pool

void Pool::push(std::function<void()> task) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (idle_ <= tasks_.size() && threads_.size() < most_) {
    try {
      threads_.emplace_back([this] { work(); });
    } catch (const std::exception&) {  // those that run do the work
      if (threads_.empty()) throw;
    }
  }
  tasks_.push_back(std::move(task));
  wake_.notify_one();
}

void Pool::work() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    idle_++;
    wake_.wait(lock, [this] { return finishing_ || !tasks_.empty(); });
    idle_--;
    if (tasks_.empty()) return;
    std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
    task = nullptr;
    lock.lock();
  }
}

void Pool::finish() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    finishing_ = true;
    wake_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

// ---- Store

ReadSnapshot::~ReadSnapshot() { store->release(held); }

class Store::Listener : public rocksdb::EventListener {
 public:
  explicit Listener(Store* store) : store_(store) {}
  void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status* status) override {
    const Failure failure = toFailure(*status, "write in the background");
    store_->failed(failure);
    if (store_->onBackgroundError_) store_->onBackgroundError_(failure);
  }
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status, bool* autoRecovery) override {
    *autoRecovery = false;
  }

 private:
  Store* const store_;
};

std::shared_ptr<Store> Store::make(std::shared_ptr<Settler> settler, StoreOptions options,
                                   ErrorListener onBackgroundError) {
  std::shared_ptr<Store> store(new Store(std::move(settler), std::move(options), std::move(onBackgroundError)));
  std::lock_guard<std::mutex> lock(registry().mutex);
  registry().stores.push_back(store);
  return store;
}

Store::Store(std::shared_ptr<Settler> settler, StoreOptions options, ErrorListener onBackgroundError)
    : settler_(std::move(settler)),
      config_(std::move(options)),
      onBackgroundError_(std::move(onBackgroundError)),
      options_(toOptions(config_)),
      statistics_(rocksdb::CreateDBStatistics()) {
  statistics_->set_stats_level(rocksdb::StatsLevel::kExceptHistogramOrTimers);
  options_.statistics = statistics_;
  options_.listeners.push_back(std::make_shared<Listener>(this));
}

Store::~Store() = default;

void Store::open() {
  const std::string doing = "open \"" + config_.path + "\"";
  rocksdb::Env* env = options_.env;
  std::vector<std::string> names = {rocksdb::kDefaultColumnFamilyName};
  if (config_.createIfMissing) {
    const rocksdb::Status status = env->CreateDirIfMissing(config_.path);
    if (!status.ok()) {
      throw Failure(status.subcode() == rocksdb::Status::kNoSpace ? "NO_SPACE" : "IO_ERROR",
                    "Cannot " + doing + ": " + status.ToString());
    }
  }
  if (exists(env, config_.path)) {
    assertUnlocked(env, config_.path, doing);
    names = namesOfFamilies(options_, config_.path);
  } else if (!config_.createIfMissing) {
    throw Failure("NOT_FOUND", "Cannot " + doing + ": there is no database");
  } else {
    assertUnlocked(env, config_.path, doing);
  }

  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (const std::string& name : names) descriptors.emplace_back(name, options_);
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options_, config_.path, descriptors, &handles, &db);
  if (!status.ok()) {
    if (status.IsIOError()) assertUnlocked(env, config_.path, doing);
    throw toFailure(status, doing);
  }
  for (rocksdb::ColumnFamilyHandle* handle : handles) {
    families_[handle->GetID()] = std::make_shared<Family>(db, handle);
  }
  {
    std::lock_guard<std::mutex> lock(closeMutex_);
    db_.reset(db);
  }
  writer_ = std::thread([this] { writeLoop(); });

  // A second line of defence behind `closeDatabases`, for an exit without the event "exit". Registered after the first
  // open, so that it runs before the destructors of what RocksDB made by then.
  static std::once_flag once;
  std::call_once(once, [] { std::atexit([] { Store::closeAll(nullptr); }); });
}

void Store::assertOpen() const {
  if (closing_) throw Failure("CLOSED", "Database \"" + config_.path + "\" is closed");
}

std::shared_ptr<Family> Store::family(uint32_t id) {
  std::lock_guard<std::mutex> lock(familiesMutex_);
  const auto found = families_.find(id);
  if (found == families_.end()) throw Failure("NOT_FOUND", "Cannot find column family " + std::to_string(id));
  return found->second;
}

std::vector<std::shared_ptr<Family>> Store::families() {
  std::lock_guard<std::mutex> lock(familiesMutex_);
  std::vector<std::shared_ptr<Family>> all;
  for (const auto& [id, family] : families_) all.push_back(family);
  return all;
}

std::shared_ptr<ReadSnapshot> Store::snapshot() {
  const rocksdb::Snapshot* held = db_->GetSnapshot();
  {
    std::lock_guard<std::mutex> lock(snapshotsMutex_);
    snapshots_.insert(held);
  }
  return std::make_shared<ReadSnapshot>(shared_from_this(), held);
}

void Store::release(const rocksdb::Snapshot* snapshot) {
  std::lock_guard<std::mutex> lock(snapshotsMutex_);
  if (snapshots_.erase(snapshot) != 0) db_->ReleaseSnapshot(snapshot);
}

void Store::read(napi_deferred deferred, std::function<Maker()> work) {
  try {
    pool_.push([this, deferred, work = std::move(work)] {
      if (!settler_->silent()) settler_->settle(deferred, attempt(work));
    });
  } catch (const std::exception& error) {
    settler_->settle(deferred, rejection(Failure("IO_ERROR", error.what())));
  }
}

void Store::checkpoint(const std::string& path) {
  const size_t slash =
      path.find_last_not_of('/') == std::string::npos ? 0 : path.rfind('/', path.find_last_not_of('/'));
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  if (!options_.env->FileExists(parent).ok()) invalid("Checkpoint's parent directory \"" + parent + "\" must exist");
  std::lock_guard<std::mutex> lock(checkpointMutex_);
  if (options_.env->FileExists(path).ok()) invalid("Checkpoint directory \"" + path + "\" must not exist");
  rocksdb::Checkpoint* made = nullptr;
  check(rocksdb::Checkpoint::Create(db_.get(), &made), "make a checkpoint");
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(made);
  check(checkpoint->CreateCheckpoint(path), "make a checkpoint");
}

// ---- the writer

void Store::write(napi_deferred deferred, Bytes batch) { push({deferred, std::move(batch), nullptr}); }

void Store::writeCommand(napi_deferred deferred, std::function<Maker()> work) {
  push({deferred, Bytes(), std::move(work)});
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
  for (const Job& job : group) {
    Maker outcome = attempt([&]() -> Maker {
      assertWritable();
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
      check(merged->Put(family->handle, key, value), "write a batch");
    } else if (op == 2) {
      check(merged->Delete(family->handle, key), "write a batch");
    } else {
      const int order = key.compare(value);
      if (order > 0) invalid("Batch holds a range that ends before it starts");
      if (order < 0) check(merged->DeleteRange(family->handle, key, value), "write a batch");
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
  check(db_->CreateColumnFamily(options_, name, &handle), "create a column family");
  std::lock_guard<std::mutex> lock(familiesMutex_);
  families_[handle->GetID()] = std::make_shared<Family>(db_.get(), handle);
  return handle->GetID();
}

void Store::dropFamily(uint32_t id) {
  assertWritable();
  const std::shared_ptr<Family> dropped = family(id);
  check(db_->DropColumnFamily(dropped->handle), "drop a column family");
  std::lock_guard<std::mutex> lock(familiesMutex_);
  families_.erase(id);
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

// ---- the end

void Store::close(napi_deferred deferred) {
  std::unique_lock<std::mutex> lock(closeMutex_);
  if (closed_) {
    if (deferred != nullptr) settler_->settle(deferred, undefined);
    return;
  }
  if (deferred != nullptr) closers_.push_back(deferred);
  if (std::exchange(closing_, true)) return;
  try {
    closer_ = std::thread([this] { shutDown(); });
  } catch (const std::exception&) {  // no more threads: block instead
    lock.unlock();
    shutDown();
  }
}

void Store::shutDown() {
  {
    std::lock_guard<std::mutex> lock(closeMutex_);
    if (db_) db_->DisableManualCompaction();
  }
  pool_.finish();
  {
    std::lock_guard<std::mutex> lock(jobsMutex_);
    finishing_ = true;
    jobsWake_.notify_one();
  }
  if (writer_.joinable()) writer_.join();
  rocksdb::Status status;
  if (db_) {
    {
      std::lock_guard<std::mutex> lock(snapshotsMutex_);
      for (const rocksdb::Snapshot* snapshot : snapshots_) db_->ReleaseSnapshot(snapshot);
      snapshots_.clear();
    }
    families_.clear();
    status = db_->Close();
    db_.reset();
    std::lock_guard<std::mutex> lock(failureMutex_);
    if (failure_) status = rocksdb::Status::OK();  // has been reported: closing only fails again for the same cause
  }

  std::lock_guard<std::mutex> lock(closeMutex_);
  closed_ = true;
  std::vector<Settlement> settlements;
  settlements.push_back({nullptr, [self = shared_from_this()](napi_env) -> napi_value {
                           self->join();
                           return nullptr;
                         }});
  const Maker outcome = status.ok() ? Maker(undefined) : rejection(toFailure(status, "close the database"));
  for (napi_deferred deferred : closers_) settlements.push_back({deferred, outcome});
  settler_->settle(std::move(settlements));
}

void Store::join() {
  if (closer_.joinable()) closer_.join();
  std::lock_guard<std::mutex> lock(registry().mutex);
  auto& stores = registry().stores;
  stores.erase(std::remove(stores.begin(), stores.end(), shared_from_this()), stores.end());
}

void Store::closeAll(const Settler* settler) {
  std::vector<std::shared_ptr<Store>> stores;
  {
    std::lock_guard<std::mutex> lock(registry().mutex);
    stores = registry().stores;
  }
  for (const std::shared_ptr<Store>& store : stores) {
    if (settler != nullptr && store->settler_.get() != settler) continue;
    store->settler_->silence();
    store->close(nullptr);
  }
  for (const std::shared_ptr<Store>& store : stores) {
    if (settler == nullptr || store->settler_.get() == settler) store->join();
  }
}

}  // namespace quiver
