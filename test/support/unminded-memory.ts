/** The server, which believes that it holds no memory: a control for tests of its memory limit. */
const { memoryUsage } = process;
process.memoryUsage = Object.assign(() => memoryUsage(), { rss: () => 0 });
await import("../../src/main.ts");
