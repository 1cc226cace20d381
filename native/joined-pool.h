#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace quiver {

// Threads that run tasks; started when there is work for them, at most `most`.
class JoinedPool {
 public:
  explicit JoinedPool(size_t most) : most_(most) {}
  ~JoinedPool() { finish(); }
  void push(std::function<void()> task);
  // Runs all that was pushed, then ends the threads.
  void finish();

 private:
  void work();
  const size_t most_;
  size_t idle_ = 0;
  bool finishing_ = false;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  std::vector<std::thread> threads_;
};

inline void JoinedPool::push(std::function<void()> task) {
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

inline void JoinedPool::work() {
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

inline void JoinedPool::finish() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    finishing_ = true;
    wake_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace quiver
