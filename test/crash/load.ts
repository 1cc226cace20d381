import assert from "node:assert/strict";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { type Index, Quiver } from "@quiver/client";
import type { ServerProcess } from "../support/server.ts";

export interface Put {
  readonly key: string;
  readonly data: Float32Array;
}

/** What a writer knows of the server: which vectors were acknowledged, and which were handed over. */
export class WriterModel {
  readonly acknowledged = new Map<string, Float32Array>();
  readonly handedOver = new Map<string, Float32Array>();
}

const WRITERS = 4;

export function connect(server: ServerProcess): { quiver: Quiver; index: Index } {
  const quiver = new Quiver({ transport: createGrpcTransport({ baseUrl: server.url }) });
  return { quiver, index: quiver.bucket("b").index("i") };
}

/** Puts batches side by side and kills the server once `killAt` vectors are acknowledged. */
export async function loadUntilKilled(
  server: ServerProcess,
  model: WriterModel,
  options: { nextBatch: () => readonly Put[]; killAt: number },
): Promise<void> {
  const { index } = connect(server);
  const write = async () => {
    for (;;) {
      const batch = options.nextBatch();
      for (const { key, data } of batch) model.handedOver.set(key, data);
      await index.put(batch);
      for (const { key, data } of batch) model.acknowledged.set(key, data);
      if (model.acknowledged.size >= options.killAt) await server.kill();
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: WRITERS }, write));
  assert.ok(ends.every(({ status }) => status === "rejected"));
}

/** Reads every vector and compares: nothing acknowledged is missing, nothing is there that was not handed over. */
export async function readAndCompare(index: Index, model: WriterModel): Promise<Map<string, Float32Array>> {
  const stored = new Map<string, Float32Array>();
  for await (const { key, data } of index.list({ data: true })) stored.set(key, data ?? new Float32Array());
  for (const [key, data] of model.acknowledged) assert.deepEqual(stored.get(key), data, `"${key}" was acknowledged`);
  for (const [key, data] of stored) assert.deepEqual(model.handedOver.get(key), data, `"${key}" was never put so`);
  return stored;
}
