import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import type { SalvageAnswer, SalvagePut } from '../../protocol/salvage.ts';
import { maildirFormat } from '../../agent/mailstore/maildir.ts';
import type { Root } from '../../agent/replicate/root.ts';
import { Placer } from '../../agent/replicate/salvage/place.ts';
import { SalvageRecords } from '../../agent/replicate/salvage/records.ts';
import { SimClock } from './sim-clock.ts';
import { SimDisk } from './sim-disk.ts';
import { SimKvStore } from './sim-kv.ts';
import { SimRandom } from './sim-random.ts';

const wall = 1_700_000_000_000;
const root: Root = { name: 'mail', path: '/mail', staging: '', format: maildirFormat };
const content = Buffer.from('Message-ID: <one>\n\nthe only one\n'.repeat(20));

function portions(): SalvagePut[] {
  const sha256 = createHash('sha256').update(content).digest();
  const put = {
    ask: 'put' as const,
    root: 'mail',
    id: Buffer.alloc(32, 7),
    mtimeNs: '1700000000123456789',
    mode: 0o600,
    uid: 5000,
    gid: 5000,
    size: content.length,
    sha256,
  };
  const target = { kind: 'message' as const, mailbox: 'user', flags: 'S', keywords: [], messageSize: null, virtualSize: null };
  return [
    { ...put, target, offset: 0, data: content.subarray(0, 100) },
    { ...put, target, offset: 100, data: content.subarray(100) },
  ];
}

/** A host whose power is cut, killed before operation number `cut` of the salvage, and its store. */
class Host {
  readonly clock = new SimClock();
  readonly #random: SimRandom;
  readonly #disk: SimDisk;
  readonly #store = new SimKvStore(() => 5);
  #host = this.clock.host(wall);
  #files;
  #kv;

  constructor(seed: number) {
    this.#random = new SimRandom(seed);
    this.#disk = new SimDisk(new SimRandom(seed + 1));
    this.#files = this.#disk.open(this.#host);
    this.#kv = this.#store.open(this.#host);
    for (const dir of ['/mail', '/mail/user', '/mail/user/tmp', '/mail/user/new', '/mail/user/cur']) this.#files.mkdir(dir, 0o700);
  }

  async sync(): Promise<void> {
    await this.clock.settle(this.#files.syncfs('/mail'), 1000);
  }

  get operations(): number {
    return this.#files.operations;
  }

  cutAfter(operations: number, power: boolean): void {
    this.#files.interruptAfter(operations, () => this.#end(power));
  }

  #end(power: boolean): void {
    this.#host.kill();
    if (power) {
      this.#disk.crash({ chaos: true });
      this.#store.crash(this.#random);
    } else {
      this.#disk.kill(this.#files);
      this.#store.kill();
    }
  }

  restart(power: boolean): void {
    this.#end(power);
    this.#host = this.clock.host(wall);
    this.#files = this.#disk.open(this.#host);
    this.#kv = this.#store.open(this.#host);
  }

  /** Sends all portions, as the other node does; the last answer, or null when this node died meanwhile. */
  async salvage(): Promise<SalvageAnswer | null> {
    const placer = new Placer(this.#files, new SalvageRecords(this.#kv), () => '/staging');
    let answer: SalvageAnswer | null = null;
    let isOver = false;
    const send = async () => {
      for (const portion of portions()) {
        answer = await placer.put(root, portion);
        if (answer.answer === 'taken' && answer.state !== 'more') break;
      }
      isOver = true;
    };
    void send().catch(() => {});
    await this.clock.runFor(5000);
    return isOver ? answer : null;
  }

  messages(): string[] {
    return ['new', 'cur'].flatMap((place) => (this.#files.readdir(`/mail/user/${place}`) ?? []).map(({ name }) => `${place}/${name}`));
  }

  read(path: string): Buffer | undefined {
    return this.#files.readFile(`/mail/user/${path}`, 10_000)?.data;
  }

  remove(path: string): void {
    this.#files.unlink(`/mail/user/${path}`);
  }
}

it.each([
  ['a kill', false],
  ['a power cut', true],
])('a message is brought back exactly once, whatever %s interrupts (I16)', async (_, power) => {
  let cuts = 0;
  for (let cut = 0; cut < 60; cut++) {
    const host = new Host(cut + 1);
    await host.sync();
    const before = host.operations;
    host.cutAfter(cut, power);
    const first = await host.salvage();
    const done = host.operations - before <= cut;
    host.restart(power);
    // What was answered is there, whatever happens then (I1).
    if (first !== null && done) expect(host.messages(), `cut ${cut}`).toHaveLength(1);
    else cuts++;
    const again = await host.salvage();
    expect(again, `cut ${cut}`).toMatchObject({ answer: 'taken' });
    host.restart(true);
    expect(await host.salvage(), `cut ${cut}`).toMatchObject({ state: 'was-placed' });
    const [only = '', ...more] = host.messages();
    expect([more, host.read(only)?.equals(content)], `cut ${cut}`).toEqual([[], true]);
    expect(only).toMatch(/^cur\/1700000000\.S(07){16}\.mailtwin:2,S$/);
    // A user deletes it: it does not come back.
    host.remove(only);
    await host.salvage();
    expect(host.messages()).toEqual([]);
  }
  expect(cuts).toBeGreaterThan(10);
});
