import { describe, expect, it } from 'vitest';
import type { StepContext } from '../../agent/failover/takeover-actions.ts';
import type { AddressProbe } from '../../agent/network/network.ts';
import { takeoverActions, type ActionParts } from '../../agent/wiring/takeover/actions.ts';
import type { GuardName, TakeoverKind } from '../../protocol/takeover.ts';

const gateway: AddressProbe = { address: '192.0.2.10', role: 'lan', answeredBy: '02:00:00:00:00:fe', error: null, isProxy: true };
const host: AddressProbe = { address: '192.0.2.11', role: 'lan', answeredBy: '02:00:00:00:00:01', error: null };

/** The steps of a node whose peer is silent, in a LAN where this is answered. */
function after(probes: AddressProbe[], overrides: GuardName[], kind: TakeoverKind = 'failover') {
  const taken: unknown[] = [];
  const parts = {
    node: {
      running: { peer: { connected: false } },
      takeAddresses: async (_: unknown, options: unknown) => void taken.push(options),
    },
    appliance: { network: { configured: true, probe: async () => probes, held: async () => ['192.0.2.10'] }, services: {}, fence: {} },
  } as unknown as ActionParts;
  const context = {
    plan: { id: 't1', kind, node: 'mail-b', target: 'mail-a', epoch: 4, overrides },
    say: () => {},
  } as unknown as StepContext;
  return { actions: takeoverActions(parts), context, taken };
}

describe('after the primary is proven off', () => {
  it('an answer of a gateway that answers for everybody is passed over by name alone: a proof stands above it', async () => {
    const refused = after([gateway], []);
    await expect(refused.actions.confirmFenced(refused.context)).rejects.toMatchObject({
      code: 'address-answered',
      remedy: expect.stringContaining('--override addresses-free') as string,
    });
    const passed = after([gateway], ['addresses-free']);
    expect(await passed.actions.confirmFenced(passed.context)).toContain('as it does for everybody');
    await passed.actions.addresses(passed.context);
    expect(passed.taken).toEqual([{ despiteProxy: true }]);
  });

  it('the answer of any other host is passed over by nobody (I3)', async () => {
    for (const probes of [[host], [gateway, host]]) {
      const { actions, context } = after(probes, ['addresses-free']);
      await expect(actions.confirmFenced(context)).rejects.toMatchObject({
        code: 'address-answered',
        message: expect.stringContaining(host.answeredBy ?? '') as string,
      });
    }
  });

  it('a switchover, which has no such proof, passes over nothing', async () => {
    const { actions, context, taken } = after([], ['addresses-free'], 'switchover');
    await actions.addresses(context);
    expect(taken).toEqual([{ despiteProxy: false }]);
  });
});
