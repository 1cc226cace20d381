import type { Socket } from "node:net";

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/**
 * Reads just enough of a fresh connection to tell which HTTP version the client speaks, puts the bytes back and calls
 * `decided`. A connection that ends, fails or stays undecided for `timeoutMs` is destroyed and never decided.
 */
export function peekPreface(socket: Socket, timeoutMs: number, decided: (version: 1 | 2) => void): void {
  let seen: Buffer = Buffer.alloc(0);
  const timer = setTimeout(() => socket.destroy(), timeoutMs);

  const stop = () => {
    clearTimeout(timer);
    socket.off("readable", onReadable);
    socket.off("error", onEnd);
    socket.off("end", onEnd);
    socket.off("close", stop);
  };
  const onEnd = () => {
    stop();
    socket.destroy();
  };
  const onReadable = () => {
    // The bytes are kept here until the version is known: unshift() would emit "readable" again at once.
    for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) {
      seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    }
    const compared = Math.min(seen.length, PREFACE.length);
    const matches = seen.compare(PREFACE, 0, compared, 0, compared) === 0;
    if (matches && compared < PREFACE.length) return;
    stop();
    socket.unshift(seen);
    decided(matches ? 2 : 1);
  };

  socket.on("readable", onReadable);
  socket.once("error", onEnd);
  socket.once("end", onEnd);
  socket.once("close", stop);
}
