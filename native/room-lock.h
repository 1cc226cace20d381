// A lock with two rooms of which one is open at a time: any number of threads may be in it. hnswlib allows parallel
// searches or parallel inserts, not both.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>

namespace quiver {

enum class Room { search = 0, build = 1 };

// Fair: when the open room empties, all who wait for the other one enter, and while anybody waits for the other room
// nobody new enters the open one. So neither side starves as long as those inside leave after a while.
class RoomLock {
 public:
  void enter(Room room) {
    const size_t side = static_cast<size_t>(room);
    std::unique_lock<std::mutex> lock(mutex_);
    const bool mayEnter = inside_ == 0 || (open_ == side && waiting_[1 - side] == 0);
    if (mayEnter) {
      open_ = side;
      ++inside_;
      return;
    }
    const size_t turn = turns_[side];
    ++waiting_[side];
    turn_[side].wait(lock, [&] { return turns_[side] != turn; });
  }

  void leave() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (--inside_ > 0) return;
    const size_t other = 1 - open_;
    const size_t next = waiting_[other] > 0 ? other : open_;
    if (waiting_[next] == 0) return;
    open_ = next;
    inside_ = waiting_[next];
    waiting_[next] = 0;
    ++turns_[next];
    turn_[next].notify_all();
  }

  // Whether anybody is in this room or waits for it; may be outdated at once.
  bool isWanted(Room room) {
    std::lock_guard<std::mutex> lock(mutex_);
    const size_t side = static_cast<size_t>(room);
    return (inside_ > 0 && open_ == side) || waiting_[side] > 0;
  }

  // Whether anybody waits for this room; may be outdated at once.
  bool isAwaited(Room room) const { return waiting_[static_cast<size_t>(room)].load(std::memory_order_relaxed) > 0; }

 private:
  std::mutex mutex_;
  std::condition_variable turn_[2];
  size_t open_ = 0;
  size_t inside_ = 0;
  size_t turns_[2] = {0, 0};
  std::atomic<size_t> waiting_[2] = {{0}, {0}};
};

class InRoom {
 public:
  InRoom(RoomLock& lock, Room room) : lock_(lock) { lock_.enter(room); }
  ~InRoom() { lock_.leave(); }
  InRoom(const InRoom&) = delete;
  InRoom& operator=(const InRoom&) = delete;

 private:
  RoomLock& lock_;
};

}  // namespace quiver
