import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Config } from '../../agent/config/config.ts';
import { readRole } from '../../agent/failover/role-store.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { readToldRole, settleRole, tellRole } from '../../agent/wiring/node-state.ts';
import { SimClock } from '../sim/sim-clock.ts';
import { SimKvStore } from '../sim/sim-kv.ts';

let state: string;

beforeEach(() => {
  state = fs.mkdtempSync(path.join(os.tmpdir(), 'mailtwin-state-'));
});

afterEach(() => fs.rmSync(state, { recursive: true, force: true }));

const config = () => ({ state, role: 'primary', file: '/etc/mailtwin/mailtwin.yaml' }) as Config;
const newStore = () => new SimKvStore(() => 0).open(new SimClock().host(0));

it('a new node begins with the role of its configuration, and tells it', () => {
  expect(settleRole(newStore(), config(), silentLog)).toEqual({ role: 'primary', epoch: 1, seenEpoch: 1 });
  expect(readToldRole(state)).toEqual({ role: 'primary', epoch: 1, seenEpoch: 1 });
});

it('a node whose store was lost keeps the role and the epoch that are told beside it (I3)', () => {
  tellRole(state, { role: 'fenced', epoch: 7, seenEpoch: 8 }, silentLog);
  const kv = newStore();
  expect(settleRole(kv, config(), silentLog)).toEqual({ role: 'fenced', epoch: 7, seenEpoch: 8 });
  expect(readRole(kv)).toEqual({ role: 'fenced', epoch: 7, seenEpoch: 8 });
});

it('a copy that cannot be written is removed: an old one could make a primary again (I3)', () => {
  tellRole(state, { role: 'primary', epoch: 3, seenEpoch: 3 }, silentLog);
  // Something stands where the new file would be made.
  fs.mkdirSync(path.join(state, `.role.new.${process.pid}`));
  tellRole(state, { role: 'standby', epoch: 4, seenEpoch: 4 }, silentLog);
  expect(readToldRole(state)).toBeNull();
});
