#include "rocksdb-store.h"

#include <rocksdb/env.h>
#include <rocksdb/listener.h>
#include <rocksdb/utilities/checkpoint.h>

#include <algorithm>

namespace quiver {
namespace {

constexpr uint64_t spaceLimitSlack = uint64_t{1} << 50;

// Every store that has not been joined. Never destroyed: other threads may still look at it while the process exits.
struct Registry {
  std::mutex mutex;
  std::vector<std::shared_ptr<Store>> stores;
};
Registry& registry() {
  static auto* const registry = new Registry;
  return *registry;
}

}  // namespace

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
  options_.sst_file_manager.reset(rocksdb::NewSstFileManager(options_.env));
  options_.sst_file_manager->SetCompactionBufferSize(spaceLimitSlack);
  options_.listeners.push_back(std::make_shared<Listener>(this));
}

Store::~Store() = default;

void Store::check(const rocksdb::Status& status, const char* doing) const {
  if (status.ok()) return;
  const Failure failure = toFailure(status, doing);
  std::string message = failure.what();
  const std::string path = config_.path + "/";
  for (size_t at = message.find(path); at != std::string::npos; at = message.find(path, at))
    message.erase(at, path.size());
  throw Failure(failure.code(), message);
}

// RocksDB compares the files that it has, those that a compaction writes, and the compaction buffer with the allowed
// space before each compaction; but it fails for good where a flush passes the allowed space, which the slack prevents.
void Store::limitCompactions(uint64_t room) {
  rocksdb::SstFileManager& files = *options_.sst_file_manager;
  files.SetMaxAllowedSpaceUsage(files.GetTotalSize() + spaceLimitSlack + room);
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
  assertWritable();
  std::lock_guard<std::mutex> lock(checkpointMutex_);
  if (options_.env->FileExists(path).ok()) invalid("Checkpoint directory \"" + path + "\" must not exist");
  rocksdb::Checkpoint* made = nullptr;
  check(rocksdb::Checkpoint::Create(db_.get(), &made), "make a checkpoint");
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(made);
  check(checkpoint->CreateCheckpoint(path), "make a checkpoint");
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
    options_.info_log.reset();  // an open file, which this object would keep until it is collected
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
