// What both halves of the addon share: failures with a code, argument checks, and promises that other threads settle.
//
// Plain Node-API, no wrapper library: nothing in here ends the process when the environment is being torn down.
#pragma once

#define NAPI_VERSION 9
#include <node_api.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace quiver {

// A failure as JavaScript sees it: an Error with `code` (a literal) and `message`.
class Failure : public std::exception {
 public:
  Failure(const char* code, std::string message) : code_(code), message_(std::move(message)) {}
  const char* code() const { return code_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  const char* code_;
  std::string message_;
};

[[noreturn]] inline void invalid(const std::string& message) { throw Failure("INVALID_ARGUMENT", message); }

// Throws when a Node-API call failed; an exception that user code threw on the way (a getter) is replaced.
inline void check(napi_env env, napi_status status, const char* doing) {
  if (status == napi_ok) return;
  napi_value ignored;
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending) napi_get_and_clear_last_exception(env, &ignored);
  invalid(std::string("Cannot ") + doing);
}

inline napi_value toString(napi_env env, const std::string& text) {
  napi_value value;
  check(env, napi_create_string_utf8(env, text.data(), text.size(), &value), "create a string");
  return value;
}

inline napi_value toNumber(napi_env env, double number) {
  napi_value value;
  check(env, napi_create_double(env, number, &value), "create a number");
  return value;
}

inline napi_value undefined(napi_env env) {
  napi_value value = nullptr;
  napi_get_undefined(env, &value);
  return value;
}

// Never throws; null when the environment is being torn down.
inline napi_value toError(napi_env env, const char* code, const char* text) {
  napi_value codeValue, message, error;
  if (napi_create_string_utf8(env, code, NAPI_AUTO_LENGTH, &codeValue) != napi_ok ||
      napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &message) != napi_ok ||
      napi_create_error(env, codeValue, message, &error) != napi_ok) {
    return nullptr;
  }
  return error;
}

// Runs `body`; what it throws becomes a JavaScript error that is handed to `failed`.
template <typename Body, typename Failed>
napi_value guard(napi_env env, Body&& body, Failed&& failed) {
  try {
    return body();
  } catch (const Failure& failure) {
    return failed(toError(env, failure.code(), failure.what()));
  } catch (const std::bad_alloc&) {
    return failed(toError(env, "OUT_OF_MEMORY", "Cannot allocate the memory that this call needs"));
  } catch (const std::exception& error) {
    return failed(toError(env, "IO_ERROR", error.what()));
  }
}

// One call from JavaScript. Arguments that were not given are undefined.
struct Call {
  static constexpr size_t most = 4;

  Call(napi_env env, napi_callback_info info) : env(env) {
    size_t count = most;
    if (napi_get_cb_info(env, info, &count, args, &self, &data) != napi_ok) invalid("Cannot read the arguments");
  }
  napi_value operator[](size_t index) const { return args[index]; }

  napi_env env;
  napi_value self = nullptr;
  void* data = nullptr;
  napi_value args[most] = {};
};

// Wraps a synchronous method: failures are thrown.
template <napi_value (*method)(const Call&)>
napi_value throwing(napi_env env, napi_callback_info info) {
  return guard(
      env, [&] { return method(Call(env, info)); },
      [&](napi_value error) -> napi_value {
        if (error != nullptr) napi_throw(env, error);
        return nullptr;
      });
}

// Wraps a method that returns a promise: failures are rejections.
template <napi_value (*method)(const Call&)>
napi_value rejecting(napi_env env, napi_callback_info info) {
  return guard(
      env, [&] { return method(Call(env, info)); },
      [&](napi_value error) -> napi_value {
        napi_deferred deferred;
        napi_value promise = nullptr;
        if (error == nullptr || napi_create_promise(env, &deferred, &promise) != napi_ok) return nullptr;
        napi_reject_deferred(env, deferred, error);
        return promise;
      });
}

// ---- arguments. `what` names the argument in messages.

inline napi_valuetype typeOf(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  check(env, napi_typeof(env, value, &type), "read the type of an argument");
  return type;
}

inline bool isUndefined(napi_env env, napi_value value) { return typeOf(env, value) == napi_undefined; }

// A whole number in [least, most]; `most` is at most 2^53 - 1.
inline uint64_t integerArgument(napi_env env, napi_value value, const char* what, uint64_t least, uint64_t most) {
  double number = NAN;
  if (typeOf(env, value) != napi_number || napi_get_value_double(env, value, &number) != napi_ok ||
      !(number >= static_cast<double>(least) && number <= static_cast<double>(most)) || number != std::floor(number)) {
    invalid(std::string(what) + " must be a whole number from " + std::to_string(least) + " to " +
            std::to_string(most));
  }
  return static_cast<uint64_t>(number);
}

inline bool booleanArgument(napi_env env, napi_value value, const char* what) {
  bool flag = false;
  if (typeOf(env, value) != napi_boolean || napi_get_value_bool(env, value, &flag) != napi_ok) {
    invalid(std::string(what) + " must be a boolean");
  }
  return flag;
}

// A string of `least` to `most` bytes in UTF-8.
inline std::string stringArgument(napi_env env, napi_value value, const char* what, size_t least, size_t most) {
  size_t length = 0;
  if (typeOf(env, value) != napi_string || napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok ||
      length < least || length > most) {
    invalid(std::string(what) + " must be a string of " + std::to_string(least) + " to " + std::to_string(most) +
            " bytes");
  }
  std::string text(length + 1, '\0');
  check(env, napi_get_value_string_utf8(env, value, text.data(), length + 1, &length), "read a string");
  text.resize(length);
  return text;
}

// A path that the operating system can take: not empty, no zero byte.
inline std::string pathArgument(napi_env env, napi_value value, const char* what) {
  std::string path = stringArgument(env, value, what, 1, 4000);
  if (path.find('\0') != std::string::npos) invalid(std::string(what) + " must not contain a zero byte");
  return path;
}

// The elements of a typed array: borrowed, valid until JavaScript runs again.
template <typename T>
struct Span {
  const T* data = nullptr;
  size_t size = 0;
};

template <typename T>
struct ArrayType;
template <>
struct ArrayType<uint8_t> {
  static constexpr napi_typedarray_type type = napi_uint8_array;
  static constexpr const char* name = "Uint8Array";
};
template <>
struct ArrayType<uint32_t> {
  static constexpr napi_typedarray_type type = napi_uint32_array;
  static constexpr const char* name = "Uint32Array";
};
template <>
struct ArrayType<float> {
  static constexpr napi_typedarray_type type = napi_float32_array;
  static constexpr const char* name = "Float32Array";
};

// A typed array of T; shared memory (another thread could change it while it is read) and detached buffers are refused.
template <typename T>
Span<T> arrayArgument(napi_env env, napi_value value, const char* what) {
  bool isArray = false, isBuffer = false, isDetached = true;
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* data = nullptr;
  napi_value buffer = nullptr;
  if (napi_is_typedarray(env, value, &isArray) != napi_ok || !isArray ||
      napi_get_typedarray_info(env, value, &type, &length, &data, &buffer, nullptr) != napi_ok ||
      type != ArrayType<T>::type) {
    invalid(std::string(what) + " must be a " + ArrayType<T>::name);
  }
  if (napi_is_arraybuffer(env, buffer, &isBuffer) != napi_ok || !isBuffer ||
      napi_is_detached_arraybuffer(env, buffer, &isDetached) != napi_ok || isDetached) {
    invalid(std::string(what) + " must not be over a shared or detached buffer");
  }
  return {static_cast<const T*>(data), length};
}

// The property of an options object (undefined when it is missing).
inline napi_value property(napi_env env, napi_value object, const char* name) {
  napi_value value = nullptr;
  check(env, napi_get_named_property(env, object, name, &value), (std::string("read the property ") + name).c_str());
  return value;
}

inline void objectArgument(napi_env env, napi_value value, const char* what) {
  if (typeOf(env, value) != napi_object) invalid(std::string(what) + " must be an object");
}

// ---- objects whose methods are native: a class whose instances hold a T. Only `wrap` makes real ones; an object from
// `new instance.constructor()` has no tag and every method refuses it.

inline napi_property_descriptor method(const char* name, napi_callback callback, void* data = nullptr) {
  return {name, nullptr, callback, nullptr, nullptr, nullptr, napi_default_method, data};
}

inline napi_ref defineClass(napi_env env, const char* name, const std::vector<napi_property_descriptor>& methods) {
  napi_value constructor;
  napi_ref reference;
  auto construct = [](napi_env, napi_callback_info) -> napi_value { return nullptr; };
  check(
      env,
      napi_define_class(env, name, NAPI_AUTO_LENGTH, construct, nullptr, methods.size(), methods.data(), &constructor),
      "define a class");
  check(env, napi_create_reference(env, constructor, 1, &reference), "keep a class");
  return reference;
}

// T has `static constexpr napi_type_tag tag`. The new object owns `held`, whose destructor runs on the JavaScript
// thread when the object is collected or the environment ends.
template <typename T>
napi_value wrap(napi_env env, napi_ref constructor, std::unique_ptr<T> held) {
  napi_value function, object;
  check(env, napi_get_reference_value(env, constructor, &function), "find a class");
  check(env, napi_new_instance(env, function, 0, nullptr, &object), "create an object");
  check(env, napi_type_tag_object(env, object, &T::tag), "tag an object");
  auto collect = [](napi_env, void* data, void*) { delete static_cast<T*>(data); };
  check(env, napi_wrap(env, object, held.get(), collect, nullptr, nullptr), "wrap an object");
  held.release();
  return object;
}

template <typename T>
T& unwrap(napi_env env, napi_value object, const char* what) {
  bool tagged = false;
  void* held = nullptr;
  if (typeOf(env, object) != napi_object || napi_check_object_type_tag(env, object, &T::tag, &tagged) != napi_ok ||
      !tagged || napi_unwrap(env, object, &held) != napi_ok) {
    invalid(std::string(what) + " is not of the right kind");
  }
  return *static_cast<T*>(held);
}

// ---- promises

// Builds the value of a promise on the JavaScript thread; a Failure that it throws rejects the promise.
using Maker = std::function<napi_value(napi_env)>;

inline Maker rejection(Failure failure) {
  return [failure = std::move(failure)](napi_env) -> napi_value { throw failure; };
}

// On any thread: what `work` returns, or a maker that throws what it threw.
inline Maker attempt(const std::function<Maker()>& work) {
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

struct Settlement {
  napi_deferred deferred;
  Maker make;
};

// Settles promises from any thread. All that waits is settled in one wake-up of the event loop (a wake-up costs some
// 30 us), in the order of the calls. While a promise is open the event loop stays alive.
class Settler {
 public:
  // On the JavaScript thread, once per environment and half; `close` must be called from an environment clean-up hook
  // that was added after this object was made.
  explicit Settler(napi_env env) : env_(env) {
    napi_value name = toString(env, "quiver");
    check(env,
          napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, drained, &wake_),
          "create a thread-safe function");
    napi_unref_threadsafe_function(env, wake_);
  }
  Settler(const Settler&) = delete;
  Settler& operator=(const Settler&) = delete;

  // On the JavaScript thread. The promise must be settled once by `settle`.
  napi_value promise(napi_deferred* deferred) {
    napi_value promise;
    check(env_, napi_create_promise(env_, deferred, &promise), "create a promise");
    if (open_++ == 0) napi_ref_threadsafe_function(env_, wake_);
    return promise;
  }

  // On any thread.
  void settle(napi_deferred deferred, Maker make) {
    std::vector<Settlement> one;
    one.push_back({deferred, std::move(make)});
    settle(std::move(one));
  }

  void settle(std::vector<Settlement> settlements) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return;
    bool idle = waiting_.empty();
    for (Settlement& settlement : settlements) waiting_.push_back(std::move(settlement));
    if (idle && !waiting_.empty()) napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);
  }

  // On any thread: runs `event` on the JavaScript thread. Does not keep the event loop alive.
  void post(Maker event) { settle(nullptr, std::move(event)); }

  // On any thread: nothing is settled from now on. For an environment or a process that ends.
  void silence() {
    std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
  }

  // On any thread: whether nobody will hear of what is settled.
  bool silent() {
    std::lock_guard<std::mutex> lock(mutex_);
    return closed_;
  }

  // On the JavaScript thread, once, after the last thread that settles has ended.
  void close() {
    silence();
    napi_release_threadsafe_function(wake_, napi_tsfn_abort);
  }

 private:
  static void drained(napi_env env, napi_value, void* self, void*) {
    if (env != nullptr) static_cast<Settler*>(self)->drain();
  }

  void drain() {
    std::vector<Settlement> settlements;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      settlements.swap(waiting_);
    }
    for (Settlement& settlement : settlements) {
      napi_handle_scope scope;
      if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
      settleOne(settlement);
      napi_close_handle_scope(env_, scope);
    }
  }

  void settleOne(const Settlement& settlement) {
    bool rejected = false;
    napi_value value = guard(
        env_, [&] { return settlement.make(env_); },
        [&](napi_value error) {
          rejected = true;
          return error;
        });
    if (settlement.deferred == nullptr) return;
    if (value == nullptr) value = undefined(env_);
    if (rejected) {
      napi_reject_deferred(env_, settlement.deferred, value);
    } else {
      napi_resolve_deferred(env_, settlement.deferred, value);
    }
    if (--open_ == 0) napi_unref_threadsafe_function(env_, wake_);
  }

  const napi_env env_;
  napi_threadsafe_function wake_ = nullptr;
  size_t open_ = 0;
  std::mutex mutex_;
  std::vector<Settlement> waiting_;
  bool closed_ = false;
};

// The two halves, and what both need; each puts its functions on `exports`.
void initRocksdb(napi_env env, napi_value exports);
void initHnsw(napi_env env, napi_value exports);
void initCrashNotes(napi_env env, napi_value exports);
void initMemory(napi_env env, napi_value exports);

}  // namespace quiver
