/** How late a clock that is put forward is noticed at most; also less than what a timer can wait, which is 2^31 ms. */
const LOOK_MS = 3_600_000;

/** Runs it at a time, in milliseconds since the epoch, unless it is called off before. Does not keep the process alive. */
export function atTime(time: number, run: () => void): { cancel(): void } {
  let timer: NodeJS.Timeout;
  const look = () => {
    const leftMs = time - Date.now();
    if (leftMs <= 0) run();
    else wait(leftMs);
  };
  const wait = (ms: number) => {
    timer = setTimeout(look, Math.min(ms, LOOK_MS)).unref();
  };
  wait(Math.max(0, time - Date.now()));
  return { cancel: () => clearTimeout(timer) };
}
