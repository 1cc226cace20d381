#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace quiver {

// Bytes in malloc'd memory: they grow without being zeroed and can be handed to JavaScript without a copy.
class Bytes {
 public:
  Bytes() = default;
  Bytes(const void* data, size_t size) { append(data, size); }
  Bytes(Bytes&& other) noexcept { *this = std::move(other); }
  Bytes& operator=(Bytes&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }
  ~Bytes() { std::free(data_); }

  size_t size() const { return size_; }
  const char* data() const { return data_; }
  void append(const void* data, size_t size);
  void alignTo8();
  // Gives unused capacity back.
  void shrink();
  // The caller frees what is returned.
  char* release();

 private:
  void reserve(size_t capacity);
  char* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

inline void Bytes::reserve(size_t capacity) {
  if (capacity <= capacity_) return;
  capacity = std::max(capacity, capacity_ + capacity_ / 2);
  void* data = std::realloc(data_, capacity);
  if (data == nullptr) throw std::bad_alloc();
  data_ = static_cast<char*>(data);
  capacity_ = capacity;
}

inline void Bytes::append(const void* data, size_t size) {
  if (size == 0) return;
  reserve(size_ + size);
  std::memcpy(data_ + size_, data, size);
  size_ += size;
}

inline void Bytes::alignTo8() {
  static constexpr char zeros[8] = {};
  append(zeros, (8 - size_ % 8) % 8);
}

inline void Bytes::shrink() {
  if (size_ == 0 || capacity_ - size_ <= size_ / 8) return;
  void* data = std::realloc(data_, size_);
  if (data == nullptr) return;
  data_ = static_cast<char*>(data);
  capacity_ = size_;
}

inline char* Bytes::release() {
  size_ = capacity_ = 0;
  return std::exchange(data_, nullptr);
}

}  // namespace quiver
