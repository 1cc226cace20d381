import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { describeOptions, OPTIONS, readConfig } from "../../src/config.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

test("the defaults keep the server on the loopback address", () => {
  const config = readConfig([], {});
  assert.equal(config.host, "127.0.0.1");
  assert.equal(config.port, 8080);
  assert.equal(config.data, "./data");
  assert.deepEqual(config.corsOrigins, []);
});

test("backups may stand beside the data, around them, and in their directory of backups", () => {
  for (const backups of ["b", "d/../b", "d2", ".", "..", "/mnt/b", "d/backups", "d/backups/quiver", "..d"]) {
    assert.equal(readConfig(["--data", "d", "--backups", backups], {}).backups, backups);
  }
});

test("a flag beats the environment, which beats the file, which beats the default", () => {
  const directory = temporaryDirectory();
  const file = join(directory, "quiver.json");
  writeFileSync(file, JSON.stringify({ port: 1, data: "from-file", corsOrigins: ["https://a", "https://b"] }));
  const environment = { QUIVER_CONFIG: file, QUIVER_PORT: "2", QUIVER_HOST: "::1", PATH: "/bin" };
  const config = readConfig(["--port", "3"], environment);
  assert.equal(config.port, 3);
  assert.equal(config.host, "::1");
  assert.equal(config.data, "from-file");
  assert.deepEqual(config.corsOrigins, ["https://a", "https://b"]);
  assert.equal(readConfig([], environment).port, 2);
  assert.equal(readConfig(["--config", file], {}).port, 1);
});

test("limits are whole numbers in flags, variables and the file, and none unless given", () => {
  const file = join(temporaryDirectory(), "quiver.json");
  writeFileSync(
    file,
    JSON.stringify({ maxVectorsPerIndex: 20_000_000, requestsPerSecond: "7", maxBytesPerServer: 1e15 - 1 }),
  );
  const environment = { QUIVER_CONFIG: file, QUIVER_REQUESTS_PER_SECOND_PER_BUCKET: "50" };
  const config = readConfig(["--max-indexes-per-bucket", "3"], environment);
  assert.equal(config.maxVectorsPerIndex, 20_000_000);
  assert.equal(config.requestsPerSecond, 7);
  assert.equal(config.maxBytesPerServer, 999_999_999_999_999);
  assert.equal(config.requestsPerSecondPerBucket, 50);
  assert.equal(config.maxIndexesPerBucket, 3);
  assert.equal(config.vectorsPerSecond, 0);
  for (const value of [-1, 0.5, 1e15, 1e21, "1e3", "", null, true]) {
    writeFileSync(file, JSON.stringify({ vectorsPerSecond: value }));
    const message = /"vectorsPerSecond" in the configuration file must be a whole number of at most 15 digits/;
    assert.throws(() => readConfig(["--config", file], {}), message, `${value}`);
  }
});

test("--help lists every option in columns", () => {
  const lines = describeOptions().split("\n");
  assert.equal(lines.length, Object.keys(OPTIONS).length + 1);
  const starts = new Set(lines.map((line) => line.search(/ QUIVER_/)));
  assert.equal(starts.size, 1, `the variables start at ${[...starts]}`);
});

test("what is unknown or wrong is refused with the place where it was given", () => {
  const directory = temporaryDirectory();
  const file = join(directory, "quiver.json");
  const refused: [string[], NodeJS.ProcessEnv, RegExp][] = [
    [["--prot", "1"], {}, /--prot/],
    [["serve"], {}, /serve/],
    [["--port"], {}, /--port/],
    [["--port", "65536"], {}, /--port must be 0 to 65535, got "65536"/],
    [["--port", "1e3"], {}, /--port must be 0 to 65535/],
    [[], { QUIVER_PROT: "1" }, /QUIVER_PROT is unknown/],
    [[], { QUIVER_PORT: "x" }, /QUIVER_PORT must be/],
    [["--log-level", "loud"], {}, /--log-level must be one of trace/],
    [["--account", "1"], {}, /--account must be 12 digits/],
    [["--data", ""], {}, /--data must not be empty/],
    [
      ["--data", "d", "--backups", "d"],
      {},
      /--backups must be outside of the data directory, or "backups" in it, got "d"/,
    ],
    [["--data", "d", "--backups", "./d/graphs"], {}, /--backups must be outside of the data directory/],
    [["--data", "d", "--backups", "e/../d/CURRENT/x"], {}, /--backups must be outside of the data directory/],
    [["--secrets-key-file", ""], {}, /--secrets-key-file must not be empty/],
    [["--secrets-key", "x"], {}, /--secrets-key/],
    [["--tls-cert", "cert.pem"], {}, /--tls-cert and --tls-key must be given together/],
    [["--tls-client-ca", "ca.pem"], {}, /--tls-client-ca must be given together with --tls-cert and --tls-key/],
    [["--config", join(directory, "absent.json")], {}, /cannot be read/],
  ];
  for (const [args, environment, message] of refused) {
    assert.throws(() => readConfig(args, environment), message);
  }
  for (const [content, message] of [
    ["{", /cannot be read as JSON/],
    ["[]", /must be a JSON object/],
    ['{"prot": 1}', /"prot" in ".*" is unknown/],
    ['{"port": "x"}', /"port" in the configuration file must be/],
  ] as const) {
    writeFileSync(file, content);
    assert.throws(() => readConfig(["--config", file], {}), message);
  }
});
