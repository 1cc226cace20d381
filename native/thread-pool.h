// Threads that run tasks in the order of arrival.
#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#include "common.h"

namespace quiver {

using Task = std::function<void()>;

inline size_t coreCount() {
  const size_t cores = std::thread::hardware_concurrency();
  return cores == 0 ? 1 : cores;
}

// Gives this thread a third of the time that others get where all cores are taken. For good, as only root may take it
// back.
inline void yieldToOthers() { setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), 5); }

// Lives until the process ends: its threads are detached and never joined, so that an exit in the middle of a task
// destroys nothing that they use. Tasks must not throw.
class ThreadPool {
 public:
  explicit ThreadPool(size_t threads) : threads_(threads) {}

  size_t size() const { return threads_; }

  void post(Task task) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (; started_ < threads_; ++started_) {
      try {
        std::thread([this] { run(); }).detach();
      } catch (const std::system_error&) {
        if (started_ == 0) throw Failure("OUT_OF_MEMORY", "Cannot start a thread");
        break;
      }
    }
    tasks_.push_back(std::move(task));
    arrived_.notify_one();
  }

 private:
  void run() {
    for (;;) {
      Task task;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        arrived_.wait(lock, [this] { return !tasks_.empty(); });
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  const size_t threads_;
  size_t started_ = 0;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Task> tasks_;
};

// Runs tasks that calls seldom wait for, one after the other, on a thread of its own that ends when there are none. It
// yields to other threads, and so do those that a task starts.
class TaskQueue : public std::enable_shared_from_this<TaskQueue> {
 public:
  void post(Task task) {
    std::lock_guard<std::mutex> lock(mutex_);
    tasks_.push_back(std::move(task));
    if (running_) return;
    try {
      std::thread([self = shared_from_this()] { self->run(); }).detach();
    } catch (const std::system_error&) {
      tasks_.pop_back();
      throw Failure("OUT_OF_MEMORY", "Cannot start a thread");
    }
    running_ = true;
  }

 private:
  void run() {
    yieldToOthers();
    for (;;) {
      Task task;
      {
        std::lock_guard<std::mutex> lock(mutex_);
        running_ = !tasks_.empty();
        if (!running_) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  std::mutex mutex_;
  std::deque<Task> tasks_;
  bool running_ = false;
};

}  // namespace quiver
