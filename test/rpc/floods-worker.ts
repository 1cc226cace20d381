import { parentPort, workerData } from "node:worker_threads";
import { FLOODS } from "./floods.ts";

const { name, port } = workerData as { readonly name: string; readonly port: number };
const end = new AbortController();
parentPort?.once("message", () => end.abort());
parentPort?.postMessage(await FLOODS[name]?.({ port, signal: end.signal }));
