import type { Step } from "./linearizable.ts";

/** No value: the key is not there. */
export const ABSENT = 0;

/**
 * What can be done to one key. Every value is put once, by one call. An answer is undefined where it was not seen: the
 * operation was done then, if the call took effect.
 */
export type RegisterOperation =
  | { readonly kind: "put"; readonly value: number }
  | { readonly kind: "read"; readonly answer: number }
  | { readonly kind: "delete"; readonly wasThere: boolean | undefined }
  /** Puts `value` if the key has the value `expected`. */
  | {
      readonly kind: "compareAndPut";
      readonly expected: number;
      readonly value: number;
      readonly done: boolean | undefined;
    };

/** A key that can be put, read, deleted, and put on a condition. */
export const register: Step<number, RegisterOperation> = (state, operation) => {
  switch (operation.kind) {
    case "put":
      return operation.value;
    case "read":
      return operation.answer === state ? state : undefined;
    case "delete": {
      const { wasThere = state !== ABSENT } = operation;
      return wasThere === (state !== ABSENT) ? ABSENT : undefined;
    }
    case "compareAndPut": {
      const { expected, value, done = true } = operation;
      if (done !== (state === expected)) return undefined;
      return done ? value : state;
    }
  }
};
