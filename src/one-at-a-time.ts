/** Runs pieces of work one after the other, in the order of the calls; one that fails does not hold up the next. */
export class OneAtATime {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work, work);
    this.#last = done;
    return done;
  }

  /** Resolves once all that was asked for so far has ended, well or not. */
  async idle(): Promise<void> {
    await this.#last.catch(() => {});
  }
}
