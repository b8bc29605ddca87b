/**
 * What all clients of one user know of their folders; it may lag behind the server, which is one kind of race.
 *
 * A rename has the user's mailboxes to itself: Dovecot (2.3.19, fs layout, most often with control files apart) may
 * give a UID twice or write "UIDs not ordered" into a uidlist when one client saves into a mailbox that another is renaming.
 * That is the server's fault, found without any replication; a test of a copy must not stumble over it.
 */
export class UserFolders {
  readonly paths = new Set<string>();
  /** Ends when all that began before it has ended. */
  #renames: Promise<unknown> = Promise.resolve();
  readonly #others = new Set<Promise<unknown>>();

  /** Does a step that may run beside others, but not beside a rename. */
  async beside<T>(step: () => Promise<T>): Promise<T> {
    for (let before = null as Promise<unknown> | null; before !== this.#renames;) {
      before = this.#renames;
      await before;
    }
    const done = step();
    const ended = done.catch(() => {}).finally(() => this.#others.delete(ended));
    this.#others.add(ended);
    return done;
  }

  /** Does a rename: what is under way ends first, and nothing begins meanwhile. */
  async alone<T>(rename: () => Promise<T>): Promise<T> {
    const done = Promise.all([this.#renames, ...this.#others]).then(rename);
    this.#renames = done.catch(() => {});
    return done;
  }
}
