/** Where a Dovecot keeps what belongs to its users. */
export interface MailPlace {
  /** The setting, as in its configuration. */
  setting: string;
  what: 'mail' | 'control' | 'index' | 'sieve';
  /** `maildir`, `mdbox` ...; null where the setting names none. */
  driver: string | null;
  /** What all users' paths begin with. */
  prefix: string;
  /** False when the prefix goes on differently for each user. */
  isWhole: boolean;
}

export interface DovecotFacts {
  places: MailPlace[];
  /** A setting that makes Dovecot replicate by itself; null when none does. */
  replicates: string | null;
}

interface Setting {
  section: string;
  key: string;
  value: string;
}

/** Reads what `doveconf -n` prints (2.3, and the path settings of 2.4). What lies below an unknown home is left out. */
export function dovecotFacts(text: string): DovecotFacts {
  const settings = parse(text);
  const homes = homesOf(settings);
  const find = (key: string) => settings.filter((each) => each.key === key && /^(namespace \S+)?$/.test(each.section));
  const place = (what: MailPlace['what'], { section, key }: Setting, driver: string | null, path: string): MailPlace[] =>
    expand(path, homes).map((full) => {
      const prefix = full.replace(/%.*$/s, '');
      return { setting: section === '' ? key : `${section} ${key}`, what, driver, prefix, isWhole: prefix === full };
    });
  const locations = [...find('mail_location'), ...find('location')].flatMap((setting) => {
    const [driver = '', path = '', ...options] = setting.value.split(':');
    const option = (name: string) => options.filter((each) => each.startsWith(`${name}=`)).map((each) => each.slice(name.length + 1));
    return [
      ...place('mail', setting, driver, path),
      ...option('CONTROL').flatMap((each) => place('control', setting, driver, each)),
      ...option('INDEX').flatMap((each) => place('index', setting, driver, each)),
    ];
  });
  const driver = find('mail_driver')[0]?.value ?? null;
  const later = [
    ...find('mail_path').flatMap((setting) => place('mail', setting, driver, setting.value)),
    ...find('mail_control_path').flatMap((setting) => place('control', setting, driver, setting.value)),
    ...find('mail_index_path').flatMap((setting) => place('index', setting, driver, setting.value)),
  ];
  const sieve = settings
    .filter(({ section, key }) => section === 'plugin' && (key === 'sieve' || key === 'sieve_dir'))
    .flatMap((setting) => place('sieve', setting, null, setting.value.replace(/^file:/, '').replace(/;.*$/, '')));
  const replica = settings.find(({ section, key, value }) => section === 'plugin' && key === 'mail_replica' && value !== '');
  return { places: [...locations, ...later, ...sieve], replicates: replica ? `${replica.key} = ${replica.value}` : null };
}

function parse(text: string): Setting[] {
  const sections: string[] = [];
  const settings: Setting[] = [];
  for (const line of text.split('\n').map((each) => each.trim())) {
    if (line.startsWith('#')) continue;
    if (line.endsWith('{')) sections.push(line.slice(0, -1).trim());
    else if (line === '}') sections.pop();
    else {
      const [, key, value] = /^([\w/]+)\s*=\s*(.*)$/.exec(line) ?? [];
      if (key !== undefined && value !== undefined) settings.push({ section: sections.join(' '), key, value });
    }
  }
  return settings;
}

/** Homes of users as the configuration itself gives them; those of a database or of the system are not known here. */
function homesOf(settings: readonly Setting[]): string[] {
  const users = settings.filter(({ section, key }) => section === 'userdb' && /^(args|default_fields|override_fields)$/.test(key));
  const homes = [
    ...settings.filter(({ section, key, value }) => section === '' && key === 'mail_home' && value !== '').map(({ value }) => value),
    ...users.flatMap(({ value }) => /(?:^|\s)home=(\S+)/.exec(value)?.[1] ?? []),
  ];
  return [...new Set(homes)];
}

function expand(path: string, homes: readonly string[]): string[] {
  const rest = /^(?:~|%h|%\{home\})(\/.*)?$/.exec(path);
  if (rest) return homes.map((home) => home + (rest[1] ?? ''));
  return path.startsWith('/') ? [path] : [];
}

/** Whether a place lies in one of the directories; null when that differs from user to user. */
export function isWithin({ prefix, isWhole }: MailPlace, dirs: readonly string[]): boolean | null {
  if (dirs.some((dir) => prefix.replace(/\/+$/, '') === dir || prefix.startsWith(`${dir}/`))) return true;
  return !isWhole && dirs.some((dir) => `${dir}/`.startsWith(prefix)) ? null : false;
}
