// What ran when the process crashed: JavaScript keeps short texts in slots of one buffer, and a signal handler writes
// them to stderr before the signal takes its course. The handler calls only write(2), sigaction(2) and raise(3).
#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "common.h"

namespace quiver {
namespace {

// A slot: the length of its text in the first byte (0: free), then the text.
constexpr size_t slotBytes = 256;
constexpr size_t stackBytes = 64 * 1024;
constexpr int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE};

std::atomic<const uint8_t*> slots{nullptr};
std::atomic<size_t> slotCount{0};
napi_ref keptBuffer = nullptr;
// The main thread's: a stack that overflowed cannot carry a handler. Other threads use their own.
alignas(16) uint8_t handlerStack[stackBytes];

void put(const void* bytes, size_t count) {
  ssize_t ignored = write(STDERR_FILENO, bytes, count);
  static_cast<void>(ignored);
}

template <size_t size>
void putText(const char (&text)[size]) {
  put(text, size - 1);
}

void onCrash(int signal) {
  const char digits[] = {static_cast<char>('0' + signal / 10), static_cast<char>('0' + signal % 10)};
  putText("{\"level\":\"fatal\",\"msg\":\"The process crashed\",\"signal\":");
  put(signal < 10 ? digits + 1 : digits, signal < 10 ? 1 : 2);
  putText("}\n");
  const uint8_t* slot = slots.load();
  for (size_t i = 0; slot != nullptr && i < slotCount.load(); i++, slot += slotBytes) {
    const uint8_t length = slot[0];
    if (length == 0) continue;
    putText("{\"level\":\"fatal\",\"msg\":\"Was running at the crash\",\"call\":\"");
    put(slot + 1, length);
    putText("\"}\n");
  }
  // The handler was reset when it was entered.
  raise(signal);
}

void forget(void*) {
  slots = nullptr;
  slotCount = 0;
}

// keepCrashNotes(slots: Uint8Array): from now on the handler writes what these slots hold. Once per process. Traps of
// WebAssembly end the process then, too.
napi_value keepCrashNotes(const Call& call) {
  const Span<uint8_t> buffer = arrayArgument<uint8_t>(call.env, call[0], "slots");
  if (buffer.size == 0 || buffer.size % slotBytes != 0) invalid("slots must have a multiple of 256 bytes");
  if (keptBuffer != nullptr) invalid("Crash notes are kept already");
  check(call.env, napi_create_reference(call.env, call[0], 1, &keptBuffer), "keep the slots");
  check(call.env, napi_add_env_cleanup_hook(call.env, forget, nullptr), "add a clean-up hook");
  slotCount = buffer.size / slotBytes;
  slots = buffer.data;
  stack_t stack = {};
  stack.ss_sp = handlerStack;
  stack.ss_size = stackBytes;
  sigaltstack(&stack, nullptr);
  struct sigaction action = {};
  action.sa_handler = onCrash;
  // SA_NODEFER: raise() is to end the process, not to wait for the end of the handler.
  action.sa_flags = SA_ONSTACK | static_cast<int>(SA_RESETHAND) | SA_NODEFER;
  for (int signal : signals) sigaction(signal, &action, nullptr);
  return undefined(call.env);
}

}  // namespace

void initCrashNotes(napi_env env, napi_value exports) {
  napi_property_descriptor properties[] = {method("keepCrashNotes", throwing<keepCrashNotes>)};
  check(env, napi_define_properties(env, exports, 1, properties), "define the functions");
}

}  // namespace quiver
