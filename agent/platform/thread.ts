import { Worker, type WorkerOptions } from 'node:worker_threads';

/**
 * Starts a thread from the module `name` (without its ending) that stands beside `from`, an `import.meta.url`. Compiled, that is a
 * file like any other; from source the thread needs the loader of TypeScript first.
 */
export function startThread(from: string, name: string, options: WorkerOptions): Worker {
  if (!from.endsWith('.ts')) return new Worker(new URL(`./${name}.js`, from), options);
  const loader = import.meta.resolve('tsx/esm/api');
  const file = new URL(`./${name}.ts`, from).href;
  return new Worker(`import(${JSON.stringify(loader)}).then(({ register }) => { register(); return import(${JSON.stringify(file)}); });`, {
    ...options,
    eval: true,
  });
}
