import fs from 'node:fs';

/** Changes files for the watcher tests as another process. Paths come as byte strings (latin1). */
export type Step = readonly [act: keyof typeof acts, ...args: (string | number)[]];

const at = (path: string | number | undefined) => Buffer.from(String(path), 'latin1');

type Act = (...args: (string | number | undefined)[]) => void;

const acts = {
  write: (path, content = 'x') => fs.writeFileSync(at(path), String(content)),
  append: (path, content = 'x') => fs.appendFileSync(at(path), String(content)),
  rename: (from, to) => fs.renameSync(at(from), at(to)),
  link: (from, to) => fs.linkSync(at(from), at(to)),
  symlink: (target, path) => fs.symlinkSync(at(target), at(path)),
  unlink: (path) => fs.unlinkSync(at(path)),
  mkdir: (path) => void fs.mkdirSync(at(path), { recursive: true }),
  rmdir: (path) => fs.rmdirSync(at(path)),
  remove: (path) => fs.rmSync(at(path), { recursive: true }),
  chmod: (path, mode) => fs.chmodSync(at(path), Number(mode)),
  utimes: (path, seconds) => fs.utimesSync(at(path), Number(seconds), Number(seconds)),
  /** Many files at once, by number. */
  many: (path, count) => {
    for (let i = 0; i < Number(count); i++) fs.writeFileSync(at(`${path}/${i}`), '');
  },
  /** Creates and removes in turn: events that the kernel cannot merge. */
  churn: (path, rounds) => {
    for (let i = 0; i < Number(rounds); i++) {
      fs.writeFileSync(at(`${path}/c${i}`), '');
      fs.unlinkSync(at(`${path}/c${i}`));
    }
  },
} satisfies Record<string, Act>;

process.on('message', (steps: Step[]) => {
  try {
    for (const [name, ...args] of steps) {
      const act: Act = acts[name];
      act(...args);
    }
    process.send?.({});
  } catch (error) {
    process.send?.({ error: String(error) });
  }
});
process.on('disconnect', () => process.exit());
