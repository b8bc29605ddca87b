import { createLab } from './lab.ts';
import { runLoad } from './imap-load.ts';
const layout = (process.argv[2] ?? 'maildir++') as 'fs';
const lab = await createLab({ hosts: 2, mail: { layout, separate: process.argv[3] === 'sep' } });
try {
  const { dovecot } = lab.host(0);
  await dovecot.start();
  const t = performance.now();
  try {
    const r = await runLoad({ dovecot, seed: process.argv[4] ?? 1, seconds: 10, users: ["anna"], imapClients: 8, pauseMs: 1 });
    console.log(r.summary(), r.conflicts, r.lasting.length);
  } catch (e) { console.log(e); }
  console.log('took', performance.now() - t);
  await dovecot.stop();
  console.log('ALARM', dovecot.alarmingLogLines().slice(0, 20).join('\n'));
  console.log('ERR', dovecot.errorLogLines().slice(0, 30).join('\n'));
  console.log(dovecot.log().split('\n').filter((l) => !/Info: (Login|Disconnect|Connect)|saved mail|Disconnected: (Logged out)/.test(l)).slice(0, 30).join('\n'));
} finally {
  await lab.dispose();
}
