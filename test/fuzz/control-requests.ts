const by = { uid: 0, user: 'root', tty: 'pts/0', sudoUser: 'ada' };
const time = '2026-01-02T03:04:05.000Z';

const plan = {
  plan: 1,
  id: '1',
  kind: 'failover',
  node: 'mail-b',
  from: 'mail-a',
  epoch: 4,
  at: time,
  guards: [],
  steps: [{ id: 'epoch', title: 't', where: 'mail-b', rollback: 'forward' }],
};

/** A valid request for each route of the control socket but the one that ends the agent. */
export const controlRequests: readonly [line: string, body: object][] = [
  ['GET /status', {}],
  ['POST /wait', { timeoutSeconds: 0 }],
  ['POST /verify', { deep: false }],
  ['POST /scrub/start', { by }],
  ['POST /scrub/restore', { place: 'mail/u1/cur/1', by }],
  ['POST /pair', { replace: false }],
  ['POST /pair/result', {}],
  ['POST /allow-delete', { places: ['mail/u1'], all: false, by }],
  ['POST /accept-root', { names: ['mail'], by }],
  ['POST /fence/test', {}],
  ['GET /nics', {}],
  ['POST /nics/assign', { role: 'lan', port: 'eth0', unproven: false }],
  ['POST /nics/swap', { first: 'lan', second: 'wan', unproven: false }],
  ['POST /nics/identify', { seconds: 1, blink: null }],
  ['POST /takeover/plan', { kind: 'switchover', overrides: ['role'], by }],
  ['POST /takeover/run', { kind: 'failover', plan, confirm: 'mail-a', acceptLoss: true, overrides: [], manual: null, by }],
  [
    'POST /takeover/run',
    { kind: 'failover', plan: null, confirm: 'mail-a', acceptLoss: false, overrides: ['peer-state'], manual: null, by },
  ],
  ['GET /takeover/last', {}],
  ['POST /salvage', { apply: false, by }],
  ['POST /keep-this-store', { confirm: 'mail-a', serverStopped: false, by }],
  ['POST /rejoin', { judge: true, confirm: '', salvage: false, unsalvaged: false, by }],
  ['GET /metrics', {}],
  ['GET /migrate/status', {}],
  ['POST /notify/test', {}],
  ['GET /no/such/route', {}],
  ['PUT /status', {}],
  ['GET /__proto__', {}],
];
