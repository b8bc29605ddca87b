import type { IncomingMessage, ServerResponse } from 'node:http';
import { expect, it } from 'vitest';
import { pageRoutes } from '../../agent/observe/page.ts';
import { words } from '../../agent/observe/page/words.js';
import type { DoctorReport } from '../../protocol/control.ts';
import { sampleStatus } from './control-fixture.ts';

/** What a route answers. */
async function get(routes: ReturnType<typeof pageRoutes>, path: string): Promise<{ text: string; headers: Map<string, unknown> }> {
  const headers = new Map<string, unknown>();
  let text = '';
  const response = {
    setHeader: (name: string, value: unknown) => headers.set(name, value),
    writeHead: (_: number, more: Record<string, unknown>) => Object.entries(more).forEach(([name, value]) => headers.set(name, value)),
    end: (body: string) => (text = body),
  };
  await routes[path]?.({ headers: {} } as IncomingMessage, response as unknown as ServerResponse);
  return { text, headers };
}

it('the doctor runs in the agent once a minute at most, however many look, and all wait for the same answer', async () => {
  let nowMs = 0;
  let runs = 0;
  const ends: ((report: DoctorReport) => void)[] = [];
  const routes = pageRoutes({
    status: () => sampleStatus(),
    events: () => [],
    plan: async () => ({ guards: [], steps: [] }),
    doctor: () => {
      runs++;
      return new Promise((resolve) => ends.push(resolve));
    },
    monotonicMs: () => nowMs,
  });
  const report = (at: string): DoctorReport => ({ at, findings: [] });
  const both = Promise.all([get(routes, '/doctor.json'), get(routes, '/doctor.json')]);
  // It may take longer than a minute; meanwhile no second one begins.
  nowMs = 90_000;
  const third = get(routes, '/doctor.json');
  expect(runs).toBe(1);
  ends[0]?.(report('first'));
  for (const { text, headers } of [...(await both), await third]) {
    expect(JSON.parse(text)).toEqual(report('first'));
    expect(headers.get('content-security-policy')).toContain("default-src 'none'");
  }
  nowMs += 60_000;
  expect(JSON.parse((await get(routes, '/doctor.json')).text)).toEqual(report('first'));
  nowMs += 1;
  const next = get(routes, '/doctor.json');
  ends[1]?.(report('second'));
  expect(JSON.parse((await next).text)).toEqual(report('second'));
  expect(runs).toBe(2);
});

it('each word of the page is there in both languages, and none is left in English', () => {
  const { en, de } = words;
  expect(Object.keys(de)).toEqual(Object.keys(en));
  const same = Object.entries(en).filter(([key, text]) => (de as Record<string, string>)[key] === text);
  // What German admins call it, too.
  expect(same.map(([key]) => key)).toEqual(['node', 'version', 'phase', 'seconds']);
});
