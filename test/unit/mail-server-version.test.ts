import { expect, it } from 'vitest';
import { mailServerVersion } from '../../agent/wiring/mail-server-version.ts';

it('a mail server that is upgraded under a running agent is known by its new version where it is judged', async () => {
  let installed: string | null = 'dovecot 2.3.19.1';
  const version = await mailServerVersion(async () => installed);
  installed = 'dovecot 2.4.1';
  expect(version.last).toBe('dovecot 2.3.19.1');
  expect(await version.read()).toBe('dovecot 2.4.1');
  expect(version.last).toBe('dovecot 2.4.1');
});
