#include "rocksdb-log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <ctime>
#include <mutex>

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace quiver {
namespace {

constexpr size_t mostBytes = size_t{4} << 20;  // of one file; the file before it is kept

// librocksdb hands a log from thread to thread under locks of its own, which ThreadSanitizer does not see there.
void handOver([[maybe_unused]] const void* log) {
#ifdef __SANITIZE_THREAD__
  __tsan_release(const_cast<void*>(log));
#endif
}
void takeOver([[maybe_unused]] const void* log) {
#ifdef __SANITIZE_THREAD__
  __tsan_acquire(const_cast<void*>(log));
#endif
}

class InfoLog : public rocksdb::Logger {
 public:
  explicit InfoLog(const std::string& directory) : path_(directory + "/LOG") {
    begin();
    handOver(this);
  }
  ~InfoLog() override {
    takeOver(this);
    end();
  }
  InfoLog(const InfoLog&) = delete;
  InfoLog& operator=(const InfoLog&) = delete;

  rocksdb::InfoLogLevel GetInfoLogLevel() const override {
    takeOver(this);
    const rocksdb::InfoLogLevel level = Logger::GetInfoLogLevel();
    handOver(this);
    return level;
  }

  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    char line[4096];
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    size_t length = std::strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%SZ ", gmtime_r(&now, &utc));
    const int text = std::vsnprintf(line + length, sizeof line - length - 1, format, arguments);
    if (text < 0) return;
    length = std::min(length + static_cast<size_t>(text), sizeof line - 2);
    if (line[length - 1] != '\n') line[length++] = '\n';

    takeOver(this);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (bytes_ >= mostBytes) begin();
      if (file_ >= 0 && ::write(file_, line, length) > 0) bytes_ += length;
    }
    handOver(this);
  }

 private:
  void begin() {
    end();
    std::rename(path_.c_str(), (path_ + ".old.1").c_str());
    file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    bytes_ = 0;
  }

  void end() {
    if (file_ >= 0) ::close(file_);
    file_ = -1;
  }

  const std::string path_;
  std::mutex mutex_;
  int file_ = -1;
  size_t bytes_ = 0;
};

}  // namespace

std::shared_ptr<rocksdb::Logger> openInfoLog(const std::string& directory) {
  return std::make_shared<InfoLog>(directory);
}

}  // namespace quiver
