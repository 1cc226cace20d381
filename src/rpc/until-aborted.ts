/** Settles like `promise`, or rejects with what `error` makes of the signal's reason as soon as `signal` is aborted. */
export function untilAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal,
  error: (reason: unknown) => Error,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(error(signal.reason));
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
    if (signal.aborted) onAbort();
  });
}

/** Hands on messages until `signal` is aborted; then fails like untilAborted. */
export async function* readUntilAborted<T>(
  messages: AsyncIterable<T>,
  signal: AbortSignal,
  error: (reason: unknown) => Error,
): AsyncGenerator<T> {
  const iterator = messages[Symbol.asyncIterator]();
  let done = false;
  try {
    while (true) {
      const result = await untilAborted(iterator.next(), signal, error);
      if (result.done === true) {
        done = true;
        return;
      }
      yield result.value;
    }
  } finally {
    // Not awaited: a source that waits for something else than the signal must not hold the failure back.
    if (!done) iterator.return?.().catch(() => {});
  }
}
