import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { createMetrics } from '../../agent/observe/metrics.ts';
import { sampleStatus } from './control-fixture.ts';

const deploy = (path: string) => fileURLToPath(new URL(`../../deploy/${path}`, import.meta.url));
const read = (path: string) => readFileSync(deploy(path), 'utf8');

interface Rule {
  alert: string;
  expr: string;
  labels: { severity: string };
  annotations: Record<string, string>;
}
const rules = (parse(read('prometheus/rules.yml')) as { groups: { rules: Rule[] }[] }).groups.flatMap((group) => group.rules);

/** Names in a query that are metrics of ours. */
function metricsIn(expression: string): string[] {
  return [...expression.matchAll(/\bmailtwin_[a-z_]+/g)].map(([name]) => name.replace(/_(bucket|sum|count)$/, ''));
}

async function known(): Promise<Map<string, string>> {
  const metrics = createMetrics({ status: () => sampleStatus(), wallMs: () => Date.parse(sampleStatus().at), processMetrics: false });
  const text = await metrics.render();
  return new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type = '']) => [name, type]));
}

describe('the metrics', () => {
  it('are all in METRICS.md, with their type, and nothing else is', async () => {
    const documented = new Map(
      [...read('prometheus/METRICS.md').matchAll(/^\| `(mailtwin_[a-z_]+)` \| (\w+) \|/gm)].map(([, name = '', type = '']) => [name, type]),
    );
    expect(Object.fromEntries(documented)).toEqual(Object.fromEntries(await known()));
  });

  it('carry no user, mailbox or path as a label', async () => {
    const labels = new Set(
      [...read('prometheus/METRICS.md').matchAll(/^\| `mailtwin_[a-z_]+` \| \w+ \| ([^|]*) \|/gm)].flatMap(([, cell = '']) =>
        cell.split(',').map((name) => name.trim()),
      ),
    );
    for (const forbidden of ['user', 'mailbox', 'path', 'file']) expect([...labels]).not.toContain(forbidden);
  });
});

describe('the alert rules', () => {
  it.each(rules.map((rule) => [rule.alert, rule] as const))('%s says what it means, and asks for metrics that exist', async (_, rule) => {
    expect(rule.annotations['summary']?.length).toBeGreaterThan(20);
    expect(rule.annotations['description']?.length).toBeGreaterThan(40);
    expect(['warning', 'critical']).toContain(rule.labels.severity);
    const names = await known();
    for (const name of metricsIn(rule.expr)) expect([...names.keys()], rule.alert).toContain(name);
  });

  it('each lead to a section of the runbook, and each section of an alert has its rule', () => {
    const anchors = [...read('docs/RUNBOOK.md').matchAll(/^### (Mailtwin\w+)$/gm)].map(([, name = '']) => name);
    expect(anchors.toSorted()).toEqual(rules.map(({ alert }) => alert).toSorted());
    for (const { alert, annotations } of rules)
      expect(annotations['runbook_url']).toMatch(new RegExp(`/blob/main/deploy/docs/RUNBOOK\\.md#${alert.toLowerCase()}$`));
  });

  it('each fire, resolve, and are silent on a healthy pair, as promtool sees it', () => {
    const run = (...args: string[]) => spawnSync('promtool', args, { cwd: deploy('prometheus'), encoding: 'utf8' });
    const checked = run('check', 'rules', 'rules.yml');
    if (checked.error) return expect(process.env['CI'], 'promtool is missing').toBeUndefined();
    expect(checked.stdout + checked.stderr).toContain('SUCCESS');
    const tested = run('test', 'rules', 'rules.test.yml');
    expect([tested.status, tested.stdout + tested.stderr]).toEqual([0, expect.stringContaining('SUCCESS')]);
    const names = (parse(read('prometheus/rules.test.yml')) as { tests: { name: string }[] }).tests.map(({ name }) => name);
    expect(names.filter((name) => name.startsWith('Mailtwin')).toSorted()).toEqual(rules.map(({ alert }) => alert).toSorted());
  });
});

interface Panel {
  id: number;
  type: string;
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  datasource?: { uid: string };
  targets?: { refId: string; expr: string }[];
}

describe('the dashboard', () => {
  const dashboard = JSON.parse(read('grafana/mailtwin.json')) as {
    uid: string;
    schemaVersion: number;
    templating: { list: { name: string }[] };
    panels: Panel[];
  };

  it('is what Grafana can provision: ids and places of its own, within 24 columns, data from the chosen source', () => {
    expect(dashboard.uid).toBe('mailtwin');
    expect(dashboard.schemaVersion).toBeGreaterThanOrEqual(36);
    expect(dashboard.templating.list.map(({ name }) => name)).toEqual(['datasource', 'pair_name', 'instance']);
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
    const taken = new Set<string>();
    for (const { gridPos, title, type, datasource, targets = [] } of dashboard.panels) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken.has(`${x},${y}`), `${title} covers another panel`).toBe(false);
          taken.add(`${x},${y}`);
        }
      if (type === 'row') continue;
      expect(datasource?.uid).toBe('${datasource}');
      expect(new Set(targets.map(({ refId }) => refId)).size).toBe(targets.length);
    }
  });

  it('asks for metrics that exist', async () => {
    const names = await known();
    for (const { targets = [], title } of dashboard.panels)
      for (const { expr } of targets) for (const name of metricsIn(expr)) expect([...names.keys()], title).toContain(name);
  });

  it('comes with what provisions it', () => {
    for (const file of [
      'grafana/provisioning/dashboards/mailtwin.yml',
      'grafana/provisioning/datasources/mailtwin.yml',
      'prometheus/scrape.yml',
    ])
      expect(existsSync(deploy(file))).toBe(true);
  });
});
