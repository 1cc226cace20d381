import assert from "node:assert/strict";
import { test } from "node:test";
import { assertMayListen } from "../../src/assert-may-listen.ts";
import { QuiverError } from "../../src/errors.ts";
import { hostOf, isLoopback, isLoopbackName, isNobodysDomain } from "../../src/http/loopback.ts";

const HERE = [
  "127.0.0.1",
  "127.8.9.10",
  "127.1",
  "::1",
  "0:0:0:0:0:0:0:1",
  "::ffff:127.0.0.1",
  "localhost",
  "LOCALHOST",
];
const BEYOND = [
  "0.0.0.0",
  "::",
  "0",
  "::2",
  "::ffff:10.0.0.1",
  "10.0.0.1",
  "db.example",
  "127.0.0.1.example",
  "localhost.example",
  "",
  "[::1]",
];

test("loopback addresses are told from all others, however they are written", () => {
  for (const host of HERE) assert.equal(isLoopback(host), true, host);
  for (const host of [...BEYOND, "sub.localhost", "a@127.0.0.1", "127.0.0.1/", "::1%lo"]) {
    assert.equal(isLoopback(host), false, host);
  }
});

test("of names in requests, only those of this machine are loopback", () => {
  for (const name of [
    "localhost",
    "Localhost.",
    "app.localhost",
    "127.0.0.1",
    "127.1.2.3",
    "[::1]",
    "[::ffff:127.0.0.1]",
  ]) {
    for (const port of ["", ":1", ":65535", ":"]) assert.equal(isLoopbackName(hostOf(name + port)), true, name + port);
  }
  for (const name of [
    ...[
      "",
      ":80",
      "localhost.evil.example",
      "127.0.0.1.evil.example",
      "notlocalhost",
      "0.0.0.0",
      "[::]",
      "::1",
      "10.0.0.1",
    ],
    ...["evil.example@localhost", "evil.example/localhost", "evil.example#localhost", "localhost:80:80", "localhost:x"],
    ...[
      "evil.example\\localhost",
      "localhost evil.example",
      "localhost,evil.example",
      "%6cocalhost",
      "[::1].evil.example",
    ],
  ]) {
    assert.equal(isLoopbackName(hostOf(name)), false, name);
  }
});

test("nobody can own an address or a name without a dot", () => {
  for (const name of ["10.0.0.1", "[2001:db8::1]:1", "quiver:8080", "0x7f000001", "localhost"]) {
    assert.equal(isNobodysDomain(hostOf(name)), true, name);
  }
  for (const name of ["", "evil.example", "evil.", "a.b:1", "1.evil", "10.0.0.1.evil.example", "evil.example@quiver"]) {
    assert.equal(isNobodysDomain(hostOf(name)), false, name);
  }
});

test("a host beyond loopback needs access keys and TLS, unless --insecure says otherwise", () => {
  const tlsCert = "cert.pem";
  const none = undefined;
  for (const host of HERE) {
    for (const hasKeys of [true, false]) assertMayListen({ host, insecure: false, tlsCert: none }, { hasKeys });
  }
  for (const host of BEYOND) {
    assertMayListen({ host, insecure: true, tlsCert: none }, { hasKeys: false });
    assertMayListen({ host, insecure: false, tlsCert }, { hasKeys: true });
    const refused = (tls: string | undefined, hasKeys: boolean) => {
      try {
        assertMayListen({ host, insecure: false, tlsCert: tls }, { hasKeys });
      } catch (error) {
        assert.ok(error instanceof QuiverError);
        return error.message;
      }
      return assert.fail(`${host} was allowed`);
    };
    const noKeys = refused(tlsCert, false);
    assert.match(noKeys, /there are no access keys.*`quiver keys create`.*--insecure true$/);
    assert.doesNotMatch(noKeys, /--tls/);
    const noTls = refused(none, true);
    assert.match(noTls, /without TLS.*--tls-cert and --tls-key.*--insecure true$/);
    assert.doesNotMatch(noTls, /keys create/);
    assert.match(
      refused(none, false),
      /neither access keys nor TLS.*`quiver keys create`.*--tls-cert.*--insecure true$/,
    );
    for (const message of [noKeys, noTls]) assert.ok(message.startsWith(`--host ${JSON.stringify(host)} is reached`));
  }
});
