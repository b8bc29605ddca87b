import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { configOf, patiently, slowMs, type GuestAppliances } from '../lab/guest-appliances.ts';
import { guestCards, sparePort, trunkPorts } from '../lab/guest-lan.ts';
import { step } from '../lab/step.ts';

/** Both drivers: the older one on a port that carries nothing, the newer one on a trunk. */
const looked = [
  { node: 'a', port: sparePort, card: 'spare' },
  { node: 'b', port: trunkPorts.b, card: 'b' },
] as const;

/** What is known of network cards, their lights, and their cables. */
export class PortScenario {
  readonly #pair: GuestAppliances;
  readonly #dir: string;

  /** @param dir of the guest: its traces are there. */
  constructor(pair: GuestAppliances, dir: string) {
    this.#pair = pair;
    this.#dir = dir;
  }

  async prove(): Promise<void> {
    await this.#ports();
    await this.#lights();
    await this.#cables();
  }

  async #ports(): Promise<void> {
    for (const { node, port, card } of looked) {
      const { mac, model } = guestCards.find(({ name }) => name === card)!;
      const slot = (await this.#pair.lan.device(node, port))?.parentdev ?? 'none';
      const lines = (await this.#pair.cli(node, ['nics'], { mayFail: true })).stdout.split('\n');
      const line = lines.find((each) => each.startsWith(`${port} `)) ?? '';
      step(
        `mailtwin nics: ${line}`,
        [mac, ` ${model} `, slot, '1 Gb/s', ' up '].every((fact) => line.includes(fact)),
        lines,
      );
    }
  }

  async #lights(): Promise<void> {
    for (const { node, port, card } of looked) {
      const ethtool = await this.#pair.lan.on(node, ['ethtool', '-p', port, '1'], { mayFail: true });
      step(`the kernel lets the light of ${port} blink`, ethtool.code === 0, ethtool);
      const before = this.#traces();
      if (card === 'b') await this.#pair.guest.trace('e1000e_core_write', true);
      const blinked = await this.#pair.cli(node, ['nics', 'identify', port, '--blink', '--seconds', '3'], { mayFail: true });
      if (card === 'b') await this.#pair.guest.trace('e1000e_core_write', false);
      step(
        `mailtwin nics identify blinks it and says so`,
        blinked.code === 0 && blinked.stdout.includes(`the light of ${port} has blinked`),
        blinked,
      );
      if (card === 'spare') {
        const windows = [2, 2].map((seconds) =>
          this.#pair.cli(node, ['nics', 'identify', port, '--blink', '--seconds', String(seconds)], { mayFail: true }),
        );
        const ends = await Promise.all(windows);
        step(
          'in two windows at once, too',
          ends.every(({ code }) => code === 0),
          ends,
        );
      } else {
        // On and off are different values of the register.
        const values = this.#traces()
          .slice(before.length)
          .map((line) => /value: (\S+)/.exec(line)?.[1]);
        step(`the card's register of its lights was written: ${values.join(' ')}`, new Set(values).size > 1, values);
      }
    }
  }

  /** Writes to LEDCTL that the emulated card has seen. */
  #traces(): string[] {
    return readFileSync(join(this.#dir, 'trace.log'), 'utf8')
      .split('\n')
      .filter((line) => /0x0*e00\b/i.test(line));
  }

  /** On the older card alone: Linux hears nothing of a cable that is pulled out of the e1000e of qemu. */
  async #cables(): Promise<void> {
    const { node, port, card } = looked[0];
    const out = `/tmp/identify-${node}`;
    const watching = this.#pair.guest.run(
      [
        'sh',
        '-c',
        `ip netns exec ${node} mailtwin nics identify --seconds 120 --config ${configOf(node)} > ${out} 2>&1; echo ended >> ${out}`,
      ],
      { timeoutMs: 2 * slowMs },
    );
    const printed = async () => (await this.#pair.guest.run(['cat', out], { mayFail: true })).stdout;
    await patiently('the watching', async () => (await printed()).includes('Pull or plug'));
    await new Promise((resolve) => setTimeout(resolve, 3000));
    for (const [isPlugged, word] of [
      [false, 'pulled'],
      [true, 'plugged'],
    ] as const) {
      await this.#pair.guest.setLink(card, isPlugged);
      await patiently(`the cable to be ${word}`, async () => new RegExp(`${word} +${port} `).test(await printed()));
      step(`a cable is ${word}: ${(await printed()).trim().split('\n').at(-1)}`, true);
    }
    await watching;
    step(
      `the watching ends by itself: ${(await printed()).trim().split('\n').at(-2)}`,
      (await printed()).includes('2 cables were pulled or plugged'),
      await printed(),
    );
  }
}
