// Gives memory that was freed back to the operating system: malloc keeps it for later otherwise.
#include <malloc.h>

#include "common.h"

namespace quiver {
namespace {

struct Trim {
  napi_deferred deferred = nullptr;
  napi_async_work work = nullptr;
};

// On a thread of libuv's: it takes some time per gigabyte.
void run(napi_env, void*) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

void completed(napi_env env, napi_status, void* data) {
  const std::unique_ptr<Trim> trim(static_cast<Trim*>(data));
  napi_resolve_deferred(env, trim->deferred, undefined(env));
  napi_delete_async_work(env, trim->work);
}

napi_value trimMemory(const Call& call) {
  auto trim = std::make_unique<Trim>();
  napi_value promise = nullptr;
  check(
      call.env,
      napi_create_async_work(call.env, nullptr, toString(call.env, "quiver"), run, completed, trim.get(), &trim->work),
      "create a task");
  check(call.env, napi_create_promise(call.env, &trim->deferred, &promise), "create a promise");
  check(call.env, napi_queue_async_work(call.env, trim->work), "start a task");
  trim.release();
  return promise;
}

}  // namespace

void initMemory(napi_env env, napi_value exports) {
  const napi_property_descriptor functions[] = {method("trimMemory", rejecting<trimMemory>)};
  check(env, napi_define_properties(env, exports, 1, functions), "define the functions");
}

}  // namespace quiver
