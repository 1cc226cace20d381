// One open RocksDB with the threads that work on it: a writer that commits groups of batches with one fsync, and a few
// readers. Knows nothing of JavaScript values except how to settle promises.
#pragma once

#include <rocksdb/db.h>
#include <rocksdb/sst_file_manager.h>
#include <rocksdb/statistics.h>
#include <rocksdb/status.h>
#include <rocksdb/write_batch.h>

#include <condition_variable>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <thread>

#include "bytes.h"
#include "common.h"
#include "joined-pool.h"

namespace quiver {

// The failure that stands for a status of RocksDB; `doing` completes "Cannot ...".
Failure toFailure(const rocksdb::Status& status, const std::string& doing);
inline void check(const rocksdb::Status& status, const char* doing) {
  if (!status.ok()) throw toFailure(status, doing);
}

// A column family that stays readable until the last user lets go of it, also when it was dropped meanwhile.
struct Family {
  Family(rocksdb::DB* db, rocksdb::ColumnFamilyHandle* handle) : db(db), handle(handle) {}
  Family(const Family&) = delete;
  ~Family() { db->DestroyColumnFamilyHandle(handle); }
  rocksdb::DB* const db;
  rocksdb::ColumnFamilyHandle* const handle;
};

class Store;

struct ReadSnapshot {
  ReadSnapshot(std::shared_ptr<Store> store, const rocksdb::Snapshot* held) : store(std::move(store)), held(held) {}
  ReadSnapshot(const ReadSnapshot&) = delete;
  ~ReadSnapshot();
  const std::shared_ptr<Store> store;
  const rocksdb::Snapshot* const held;
};

constexpr size_t mostKeyBytes = 65535;

struct StoreOptions {
  std::string path;
  bool createIfMissing = false;
  size_t dbWriteBufferBytes = size_t{128} << 20;
  size_t maxTotalWalBytes = size_t{256} << 20;
  size_t blockCacheBytes = size_t{64} << 20;
};

rocksdb::Options toOptions(const StoreOptions& options);

// Threads: every public method is called on the JavaScript thread unless it says otherwise.
class Store : public std::enable_shared_from_this<Store> {
 public:
  static constexpr size_t mostBatchBytes = (size_t{1} << 30) + (size_t{1} << 20);
  using ErrorListener = std::function<void(const Failure&)>;

  // `onBackgroundError` is called on any thread.
  static std::shared_ptr<Store> make(std::shared_ptr<Settler> settler, StoreOptions options,
                                     ErrorListener onBackgroundError);
  ~Store();

  // On a thread of the pool, before anything else.
  void open();
  // Throws CLOSED when `close` was called. Nothing below may be called then, except `close`.
  void assertOpen() const;

  rocksdb::DB& db() { return *db_; }
  const rocksdb::Statistics& statistics() const { return *statistics_; }
  std::shared_ptr<Family> family(uint32_t id);
  std::vector<std::shared_ptr<Family>> families();
  std::shared_ptr<ReadSnapshot> snapshot();

  // Runs `work` on the pool (or, in the order of the writes, on the writer) and settles the promise with what it
  // returns or throws.
  void read(napi_deferred deferred, std::function<Maker()> work);
  // Fails with DISK_FULL when the file system has less than `leastFree` bytes beside what is written.
  void write(napi_deferred deferred, Bytes batch, uint64_t leastFree);
  void writeCommand(napi_deferred deferred, std::function<Maker()> work);

  // On the writer.
  uint32_t createFamily(const std::string& name);
  void dropFamily(uint32_t id);

  // On any thread. Throws once a write has failed: RocksDB must not be asked to write anything then, because where it
  // is built with assertions it aborts when it meets a file again that failed.
  void assertWritable();
  // Throws the failure that a status stands for, with paths relative to the database.
  void check(const rocksdb::Status& status, const char* doing) const;
  // Compactions that would write more bytes than `room` wait until there is more.
  void limitCompactions(uint64_t room);
  void checkpoint(const std::string& path);
  // Ends after what was asked before has ended. May be called often; `deferred` may be null.
  void close(napi_deferred deferred);
  // Waits for the end that `close` began and forgets the store. Where promises cannot be settled any more.
  void join();
  static void closeAll(const Settler* settler);

 private:
  friend struct ReadSnapshot;
  class Listener;
  struct Job {
    napi_deferred deferred;
    Bytes batch;
    uint64_t leastFree;
    std::function<Maker()> command;
  };

  Store(std::shared_ptr<Settler> settler, StoreOptions options, ErrorListener onBackgroundError);
  void push(Job job);
  void writeLoop();
  bool takeGroup(std::vector<Job>* group);
  std::vector<Settlement> commit(const std::vector<Job>& group);
  void append(const Bytes& batch, rocksdb::WriteBatch* merged);
  void checkWritten(const rocksdb::Status& status, const char* doing);
  uint64_t freeBytes() const;
  void failed(const Failure& failure);
  void shutDown();
  void release(const rocksdb::Snapshot* snapshot);

  const std::shared_ptr<Settler> settler_;
  const StoreOptions config_;
  const ErrorListener onBackgroundError_;
  rocksdb::Options options_;
  std::shared_ptr<rocksdb::Statistics> statistics_;
  std::unique_ptr<rocksdb::DB> db_;

  std::mutex familiesMutex_;
  std::map<uint32_t, std::shared_ptr<Family>> families_;
  std::mutex snapshotsMutex_;
  std::set<const rocksdb::Snapshot*> snapshots_;
  std::mutex checkpointMutex_;
  std::mutex failureMutex_;
  std::optional<std::string> failure_;  // why writes are refused from now on

  std::mutex jobsMutex_;
  std::condition_variable jobsWake_;
  std::deque<Job> jobs_;
  size_t jobBytes_ = 0;
  bool finishing_ = false;

  JoinedPool pool_{4};
  std::thread writer_;
  std::thread closer_;
  std::mutex closeMutex_;
  bool closing_ = false;
  bool closed_ = false;
  rocksdb::Status closeStatus_;
  std::vector<napi_deferred> closers_;
};

// Names of the column families of the database at `path`.
std::vector<std::string> listFamilies(const std::string& path);

// Makes a file of so many bytes whose blocks are there; removes it again when there are too few.
void allocateFile(const std::string& path, uint64_t bytes);

}  // namespace quiver
