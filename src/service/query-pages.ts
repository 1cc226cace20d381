import { randomUUID } from "node:crypto";
import type { QueryPlan, QueryRest, ScoredVector } from "../engine/engine.ts";
import { createPageToken, pageTokenInvalid, parsePageToken } from "./page-token.ts";

/** An answer of which not all has been sent. */
export interface OpenAnswer {
  readonly plan: QueryPlan;
  readonly lsn: number;
  readonly rest: QueryRest;
}

export interface QueryPage {
  readonly vectors: readonly ScoredVector[];
  readonly plan: QueryPlan;
  readonly lsn: number;
  /** "" on the last page. */
  readonly nextToken: string;
}

export interface QueryPagesOptions {
  /** Answers kept open; one more closes the one that was used least recently. */
  readonly answersMax: number;
  /** How long an answer is kept after its last use. */
  readonly idleMs: number;
  /** How long it is kept once its last page was read, for a caller that missed that page. */
  readonly readMs: number;
  /** How long it is kept at most: its read snapshot holds back what the store would free. */
  readonly lifeMs: number;
}

interface Entry extends OpenAnswer {
  readonly id: string;
  timer: NodeJS.Timeout | undefined;
  life: NodeJS.Timeout | undefined;
  /** Pages that are being read. */
  readers: number;
  isClosed: boolean;
}

/**
 * The answers to queries that are read page by page, each as it was found. A page can be read again, with the same
 * outcome, as long as its answer is kept. All are gone after a restart.
 */
export class QueryPages {
  readonly #options: QueryPagesOptions;
  /** The least recently used first. */
  readonly #entries = new Map<string, Entry>();
  #isClosed = false;

  constructor(options: QueryPagesOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Keeps an answer; returns the token of the page at `position`. `request` is what the token is bound to. */
  keep(request: readonly unknown[], answer: OpenAnswer, position: number): string {
    const entry: Entry = {
      ...answer,
      id: randomUUID(),
      timer: undefined,
      life: undefined,
      readers: 0,
      isClosed: false,
    };
    this.#entries.set(entry.id, entry);
    entry.life = setTimeout(() => this.#close(entry), this.#options.lifeMs).unref();
    this.#keepFor(entry, this.#options.idleMs);
    if (this.#isClosed) this.#close(entry);
    while (this.#entries.size > this.#options.answersMax) this.#close(this.#entries.values().next().value as Entry);
    return tokenOf(request, entry, position);
  }

  /** The page that a token means. Throws PAGE_TOKEN_INVALID for a token of another request, or of an answer that is gone. */
  async read(request: readonly unknown[], token: string, pageSize: number): Promise<QueryPage> {
    const [, id = "", digits = ""] = POSITION.exec(parsePageToken(request, token) ?? "") ?? [];
    const position = Number(digits);
    if (id === "") throw pageTokenInvalid();
    const entry = this.#entries.get(id);
    if (!entry) throw pageTokenInvalid(GONE);
    const { rest, plan, lsn } = entry;
    if (position < 1 || position >= rest.size) throw pageTokenInvalid();

    const next = position + pageSize;
    const isLast = next >= rest.size;
    this.#entries.delete(id);
    this.#entries.set(id, entry);
    this.#keepFor(entry, isLast ? this.#options.readMs : this.#options.idleMs);
    entry.readers++;
    try {
      const vectors = await rest.read(position, Math.min(pageSize, rest.size - position));
      return { vectors, plan, lsn, nextToken: isLast ? "" : tokenOf(request, entry, next) };
    } finally {
      entry.readers--;
      if (entry.isClosed) this.#close(entry);
    }
  }

  /** Closes every answer; later ones are closed at once. */
  close(): void {
    this.#isClosed = true;
    for (const entry of this.#entries.values()) this.#close(entry);
  }

  #keepFor(entry: Entry, ms: number): void {
    clearTimeout(entry.timer);
    entry.timer = setTimeout(() => this.#close(entry), ms).unref();
  }

  /** An answer that is being read is closed after that. */
  #close(entry: Entry): void {
    clearTimeout(entry.timer);
    clearTimeout(entry.life);
    this.#entries.delete(entry.id);
    entry.isClosed = true;
    if (entry.readers === 0) entry.rest.close();
  }
}

/** A token goes on at a position, counted from 0, of the answer with an id. */
const POSITION = /^([0-9a-f-]{36})\/(\d{1,6})$/;

function tokenOf(request: readonly unknown[], { id }: Entry, position: number): string {
  return createPageToken(request, `${id}/${position}`);
}

const GONE =
  "The answer that it goes on with is no longer kept: some minutes after its last use, when many others are read, or since a restart; query again without next_token";
