import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { axeViolations, openPage, startBrowser } from '../lab/browser.ts';
import { PageServer, orphanStatus, samplePlan, sampleNetwork, wellStatus } from '../lab/page-server.ts';
import { unknown } from '../../agent/failover/guard-facts.ts';
import { OperatorError } from '../../agent/platform/errors.ts';
import { waitFor } from '../lab/waiting.ts';

/** Set to a directory to keep what the browser shows. */
const pictures = process.env['MAILTWIN_PICTURES'];
const sizes = { desktop: { width: 1180, height: 860 }, phone: { width: 390, height: 844 } };
const evil = '<img src=x onerror="document.title=1"><script>document.title=2</script>';

const orphan = {
  status: orphanStatus,
  network: () => sampleNetwork('mail-b', false, false),
  peerNetwork: () => sampleNetwork('mail-a', true),
  services: async () => 'stopped',
  lag: () =>
    Array.from({ length: 280 }, (_, i) => ({
      at: Date.now() - (279 - i) * 2000,
      seconds: i > 160 ? null : 0.2 + (i % 50 === 0 ? 0.9 : 0),
    })),
};

let browser: Browser;
beforeAll(async () => (browser = await startBrowser()));
afterAll(() => browser.close());

async function picture(page: Page, name: string): Promise<void> {
  if (pictures === undefined) return;
  mkdirSync(pictures, { recursive: true });
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
  await page.screenshot({ path: join(pictures, `${name}-top.png`) });
}

describe.each(['light', 'dark'] as const)('the status page, %s', (colorScheme) => {
  describe.each(Object.entries(sizes))('at %s size', (size, viewport) => {
    it.each([
      ['en-GB', 'well', {}, 'All is well'],
      ['de-DE', 'orphan', orphan, 'Eine Sache braucht Sie jetzt'],
      ['en-GB', 'orphan', orphan, 'One thing needs you now'],
    ] as const)(
      'shows in %s how a pair stands that is %s, and breaks no rule of accessibility or of its own policy',
      async (locale, name, change, headline) => {
        await using server = await PageServer.start(change);
        const { page, complaints } = await openPage(browser, { viewport, colorScheme, locale });
        await page.goto(server.url);
        await page.getByRole('heading', { name: headline }).waitFor();
        await page.locator('#doctor .guards').first().waitFor({ state: 'attached' });
        expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
        expect(await axeViolations(page)).toEqual([]);
        await picture(page, `status-${name}-${locale.slice(0, 2)}-${size}-${colorScheme}`);
        expect(complaints).toEqual([]);
        await page.context().close();
      },
    );

    it('shows the checklist with each guard and its evidence', async () => {
      const plan = samplePlan({ isolation: unknown('no witness was asked') });
      await using server = await PageServer.start({ ...orphan, failoverPlan: async () => plan });
      const { page, complaints } = await openPage(browser, { viewport, colorScheme, locale: size === 'phone' ? 'de-DE' : 'en-GB' });
      await page.goto(`${server.url}/checklist`);
      await page.locator('#guards li').first().waitFor();
      const text = await page.locator('#guards').innerText();
      for (const { guard, evidence } of plan.guards) {
        expect(text).toContain(`${guard}:`);
        expect(text).toContain(evidence.trim());
      }
      expect(await page.locator('#do').innerText()).toContain('mailtwin failover --apply');
      expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
      expect(await axeViolations(page)).toEqual([]);
      await picture(page, `checklist-${size}-${colorScheme}`);
      expect(complaints).toEqual([]);
      await page.context().close();
    });
  });
});

describe('the status page', () => {
  it('takes names of strangers for text', async () => {
    const status = () =>
      wellStatus({ node: evil, replication: { ...wellStatus().replication, unproven: [{ root: 'mail', path: evil, reason: evil }] } });
    await using server = await PageServer.start({
      status,
      events: () => [{ level: 'bad', code: 'x', at: new Date().toISOString(), text: evil, remedy: evil }],
    });
    const { page, complaints } = await openPage(browser, { locale: 'en' });
    await page.goto(server.url);
    await page.locator('#attention li').waitFor();
    expect(await page.locator('#attention strong').innerText()).toBe(`mail: ${evil}`);
    expect(await page.locator('main img, main script').count()).toBe(0);
    expect(await page.title()).toContain('mailtwin');
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  it('says that it is old when the agent answers no more, and that what is not known is not known (I18)', async () => {
    const server = await PageServer.start();
    const { page } = await openPage(browser, { locale: 'en' });
    await page.goto(server.url);
    await page.getByRole('heading', { name: 'All is well' }).waitFor();
    expect(await page.locator('#numbers dd').first().innerText()).toContain('of mail');
    server.parts = { ...server.parts, status: orphanStatus };
    await page.locator('#numbers').getByText('not known').first().waitFor();
    expect(await page.locator('#numbers dd').first().innerText()).toBe('not known');
    await server[Symbol.asyncDispose]();
    await page.getByRole('alert').getByText('has not answered since').waitFor();
    expect(await page.locator('body.is-stale').count()).toBe(1);
    await page.context().close();
  });

  it('can be read with the keyboard alone: a skip link first, then the pages, and the focus is seen', async () => {
    await using server = await PageServer.start();
    const { page } = await openPage(browser, { locale: 'en' });
    await page.goto(server.url);
    await page.locator('#doctor summary').waitFor();
    const focused = () => page.evaluate<string>('document.activeElement.textContent.trim()');
    const order: string[] = [];
    for (let i = 0; i < 4; i++) {
      await page.keyboard.press('Tab');
      order.push(await focused());
      expect(
        await page.evaluate("document.activeElement.matches(':focus-visible') && getComputedStyle(document.activeElement).outlineStyle"),
      ).toBe('solid');
    }
    expect(order).toEqual(['Skip to the state of the pair', 'Status', 'Failover checklist', 'What is well']);
    await page.keyboard.press('Enter');
    expect(await page.locator('#doctor details').getAttribute('open')).not.toBeNull();
    // What the page reads anew does not take the focus, nor close what was opened.
    await page.waitForResponse('**/status.json');
    await page.waitForResponse('**/status.json');
    expect(await focused()).toBe('What is well');
    expect(await page.locator('#doctor details').getAttribute('open')).not.toBeNull();
    await page.reload();
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    expect(await page.evaluate('document.activeElement.id')).toBe('main');
    await page.context().close();
  });

  it('says on a primary where the checklist belongs', async () => {
    const failoverPlan = () => Promise.reject(new OperatorError('on-primary', 'mail-a is the primary', 'run it on mail-b', 3));
    await using server = await PageServer.start({ failoverPlan });
    const { page } = await openPage(browser, { locale: 'en' });
    await page.goto(`${server.url}/checklist`);
    await page.getByRole('heading', { name: 'belongs on the standby' }).waitFor();
    await page.context().close();
  });

  it('asks doctor and guards at most now and then, however many look', async () => {
    let doctors = 0;
    let plans = 0;
    await using server = await PageServer.start({
      doctor: async () => (doctors++, []),
      failoverPlan: async () => (plans++, samplePlan()),
    });
    const get = (path: string) => fetch(`${server.url}${path}`).then((answer) => answer.text());
    await Promise.all(Array.from({ length: 20 }, (_, i) => get(i % 2 ? '/status.json' : '/checklist.json')));
    await waitFor('the doctor', 5000, async () => (await get('/status.json')).includes('"findings"'));
    await Promise.all(Array.from({ length: 20 }, (_, i) => get(i % 2 ? '/status.json' : '/checklist.json')));
    expect([doctors, plans]).toEqual([1, 1]);
  });

  it('only reads: every other method is refused, and nothing outside its list is served', async () => {
    await using server = await PageServer.start();
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH'])
      expect((await fetch(`${server.url}/status.json`, { method })).status).toBe(405);
    for (const path of ['/page/../pages.ts', '/page/pages.ts', '/page/%2e%2e/http.ts', '/files/status.html', '/constructor', '/__proto__'])
      expect((await fetch(server.url + path)).status, path).toBe(404);
    const { headers } = await fetch(server.url);
    expect(headers.get('content-security-policy')).toMatch(
      /^default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'/,
    );
  });
});
