// Opening a database: which options, whether there is one, what its failures mean.
#include <rocksdb/cache.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "rocksdb-log.h"
#include "rocksdb-read.h"

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
    case Status::kCompactionTooLarge:
      return "NO_SPACE";
    default:
      return "IO_ERROR";
  }
}

class NoLog : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

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
  // The file does not matter, but the sync of its directory does: the names of logs and tables depend on it, too.
  options.fail_if_options_file_error = true;
  options.write_buffer_size = std::clamp(config.dbWriteBufferBytes / 2, size_t{1} << 20, size_t{64} << 20);
  // More room than by default before writes would have to wait, because waiting is refused (no_slowdown).
  options.max_write_buffer_number = 4;
  options.level0_slowdown_writes_trigger = 40;
  options.level0_stop_writes_trigger = 56;
  options.compression = rocksdb::kNoCompression;
  options.bottommost_compression = rocksdb::kDisableCompressionOption;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(config.blockCacheBytes);
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

Failure toFailure(const rocksdb::Status& status, const std::string& doing) {
  std::string text = status.ToString();
  // Of a missing table RocksDB names what it looked for last, the name that tables had long ago.
  for (size_t at = text.find(".ldb"); at != std::string::npos; at = text.find(".ldb", at)) text.replace(at, 4, ".sst");
  return {codeOf(status), "Cannot " + doing + ": " + text};
}

std::vector<std::string> listFamilies(const std::string& path) {
  rocksdb::Options options;
  if (!exists(options.env, path)) throw Failure("NOT_FOUND", "Cannot find a database in \"" + path + "\"");
  return namesOfFamilies(options, path);
}

Entries peekAt(const std::string& path, const Keys& keys) {
  StoreOptions config;
  config.blockCacheBytes = size_t{1} << 20;
  rocksdb::Options options = toOptions(config);
  if (!exists(options.env, path)) throw Failure("NOT_FOUND", "Cannot find a database in \"" + path + "\"");
  const std::string doing = "open \"" + path + "\"";
  assertUnlocked(options.env, path, doing);
  options.info_log = std::make_shared<NoLog>();
  // A write that a power cut tore was not acknowledged, so it does not matter here; damage is refused when it opens.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status = rocksdb::DB::OpenForReadOnly(options, path, &opened);
  if (!status.ok()) {
    if (status.IsIOError()) assertUnlocked(options.env, path, doing);
    throw toFailure(status, doing);
  }
  const std::unique_ptr<rocksdb::DB> db(opened);
  Entries answer;
  size_t from = 0;
  for (const size_t end : keys.ends) {
    std::string value;
    const rocksdb::Slice key(keys.bytes.data() + from, end - from);
    const rocksdb::Status found = db->Get(rocksdb::ReadOptions(), key, &value);
    if (!found.ok() && !found.IsNotFound()) throw toFailure(found, doing);
    if (found.ok()) {
      answer.add(rocksdb::Slice(), value);
    } else {
      answer.addAbsent();
    }
    from = end;
  }
  return answer;
}

void allocateFile(const std::string& path, uint64_t bytes) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  int error = file < 0 ? errno : 0;
  if (error == 0 && fallocate(file, 0, 0, static_cast<off_t>(bytes)) != 0) error = errno;
  if (file >= 0) ::close(file);
  if (error == 0) return;
  if (file >= 0) unlink(path.c_str());
  throw Failure(error == ENOSPC ? "NO_SPACE" : "IO_ERROR", "Cannot allocate a file: " + std::string(strerror(error)));
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

  options_.info_log = openInfoLog(config_.path);
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
