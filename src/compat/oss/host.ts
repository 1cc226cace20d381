import type { RequestHead } from "../facade.ts";

/** What a request says by its host: `<bucket>-<account>.<endpoint>`, or `<endpoint>` alone. */
export interface OssHost {
  readonly endpoint: string;
  readonly bucket?: { readonly name: string; readonly account: string };
}

const ACCOUNT = /^\d{1,32}$/;

/** A host that names no bucket is all endpoint. */
export function hostOf({ url }: RequestHead): OssHost {
  const host = url.slice(url.indexOf("://") + 3);
  const dot = host.indexOf(".");
  const label = host.slice(0, Math.max(dot, 0));
  const at = label.lastIndexOf("-");
  const account = label.slice(at + 1);
  if (at < 1 || !ACCOUNT.test(account)) return { endpoint: host };
  return { endpoint: host.slice(dot + 1), bucket: { name: label.slice(0, at), account } };
}
