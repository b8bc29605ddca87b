import { baseName, parentPath, type BytePath, type Files } from '../../platform/files.ts';
import { absolute, type Root } from '../root.ts';

/**
 * Tells a message that was moved from one more message of the same content: the place that it was moved from is empty on
 * the disk of the node where it was moved, and one empty place is where one message was moved from.
 */
export class VacatedPlaces {
  readonly #files: Files;
  readonly #taken = new Set<string>();
  #looked: { mailbox: string; bases: ReadonlySet<string> } | null = null;

  constructor(files: Files) {
    this.#files = files;
  }

  /** The first of these places (paths of messages below the root) that is empty here and was not taken before; takes it. */
  take(root: Root, places: readonly BytePath[]): BytePath | null {
    const place = places.find((path) => !this.#taken.has(keyOf(root, path)) && !this.#isHere(root, path));
    if (place === undefined) return null;
    this.#taken.add(keyOf(root, place));
    return place;
  }

  /** Flags may have changed, and reading a message moves it from new to cur. */
  #isHere(root: Root, path: BytePath): boolean {
    const mailbox = parentPath(parentPath(path));
    const key = keyOf(root, mailbox);
    if (this.#looked?.mailbox !== key) {
      const names = ['cur', 'new'].flatMap((dir) => this.#files.readdir(`${absolute(root, mailbox)}/${dir}`) ?? []);
      this.#looked = { mailbox: key, bases: new Set(names.map(({ name }) => root.format.baseOf(name))) };
    }
    return this.#looked.bases.has(root.format.baseOf(baseName(path)));
  }
}

function keyOf(root: Root, path: BytePath): string {
  return `${root.name}\0${path}`;
}
