// Opening a database: which options, whether there is one, what its failures mean.
#include <rocksdb/cache.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>

#include <algorithm>

#include "rocksdb-store.h"

namespace quiver {
namespace {

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

Failure toFailure(const rocksdb::Status& status, const std::string& doing) {
  return {codeOf(status), "Cannot " + doing + ": " + status.ToString()};
}

std::vector<std::string> listFamilies(const std::string& path) {
  rocksdb::Options options;
  if (!exists(options.env, path)) throw Failure("NOT_FOUND", "Cannot find a database in \"" + path + "\"");
  return namesOfFamilies(options, path);
}

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

}  // namespace quiver
