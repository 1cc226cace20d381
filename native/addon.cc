// The entry point: one module, two halves that do not know each other.
#include "common.h"

NAPI_MODULE_INIT() {
  return quiver::guard(
      env,
      [&] {
        quiver::initRocksdb(env, exports);
        quiver::initHnsw(env, exports);
        quiver::initCrashNotes(env, exports);
        quiver::initMemory(env, exports);
        return exports;
      },
      [&](napi_value error) -> napi_value {
        if (error != nullptr) napi_throw(env, error);
        return nullptr;
      });
}
