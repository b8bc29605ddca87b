import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * A host of virtual machines as `fence_virsh` meets it: a shell behind `ssh`, and `virsh` on its path. The `ssh` is ours and
 * runs what the agent wants to run there; `virsh` keeps the state of one domain in a file.
 */
export class VirshHost {
  readonly #dir: string;
  /** What stands in the agent's options beside the name of the domain. */
  readonly options: Record<string, string>;

  constructor(dir: string, domain: string) {
    this.#dir = join(dir, 'virsh-host');
    mkdirSync(join(this.#dir, 'bin'), { recursive: true });
    const executable = (name: string, text: string) => {
      writeFileSync(join(this.#dir, name), text);
      chmodSync(join(this.#dir, name), 0o755);
    };
    writeFileSync(join(this.#dir, 'state'), 'running\n');
    writeFileSync(join(this.#dir, 'after-destroy'), 'shut off\n');
    writeFileSync(join(this.#dir, 'key'), '', { mode: 0o600 });
    // The last argument is the command for the other side, as ssh(1) has it.
    executable('ssh', `#!/bin/sh\nfor last; do :; done\nPATH=${this.#dir}/bin:/usr/bin:/bin exec sh -c "$last"\n`);
    executable(
      'bin/virsh',
      `#!/bin/sh
echo "$*" >> ${this.#dir}/calls
[ "$2" = ${domain} ] || { echo "error: failed to get domain '$2'"; exit 1; }
case $1 in
  domstate) cat ${this.#dir}/state ;;
  destroy) cp ${this.#dir}/after-destroy ${this.#dir}/state; echo "Domain '$2' destroyed" ;;
esac
`,
    );
    this.options = { ip: '127.0.0.1', username: 'root', ssh_path: join(this.#dir, 'ssh'), identity_file: join(this.#dir, 'key') };
  }

  get state(): string {
    return readFileSync(join(this.#dir, 'state'), 'utf8').trim();
  }

  /** What the domain is after it was destroyed. */
  set afterDestroy(state: string) {
    writeFileSync(join(this.#dir, 'after-destroy'), `${state}\n`);
  }

  get calls(): string[] {
    return readFileSync(join(this.#dir, 'calls'), 'utf8').trim().split('\n');
  }
}
