import { doveconfSettings, type DovecotSetting } from '../../platform/doveconf.ts';

/** Where a Dovecot keeps what belongs to its users. */
export interface MailPlace {
  /** The setting, as in its configuration. */
  setting: string;
  what: 'mail' | 'control' | 'index' | 'sieve' | 'attributes';
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
  /** Plugins of full-text search that it loads, sorted. */
  fullText: string[];
}

/** Reads what `doveconf -n` prints, of 2.3 and of 2.4. What lies below an unknown home is left out. */
export function dovecotFacts(text: string): DovecotFacts {
  const settings = doveconfSettings(text);
  const homes = homesOf(settings);
  const find = (key: string) => settings.filter((each) => each.key === key && /^(namespace \S+)?$/.test(each.section));
  const place = (what: MailPlace['what'], { section, key }: DovecotSetting, driver: string | null, path: string): MailPlace[] =>
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
  const drivers = find('mail_driver');
  const driverOf = ({ section: of }: DovecotSetting): string | null =>
    (drivers.find(({ section }) => section === of) ?? drivers.find(({ section }) => section === ''))?.value ?? null;
  const later = [
    // Debian 13 ships one for the INBOX alone, outside of everything else.
    ...['mail_path', 'mail_inbox_path'].flatMap(find).flatMap((setting) => place('mail', setting, driverOf(setting), setting.value)),
    ...find('mail_control_path').flatMap((setting) => place('control', setting, driverOf(setting), setting.value)),
    ...find('mail_index_path').flatMap((setting) => place('index', setting, driverOf(setting), setting.value)),
  ];
  const sieve = settings
    .filter(
      ({ section, key }) =>
        (section === 'plugin' && (key === 'sieve' || key === 'sieve_dir')) ||
        (/^sieve_script \S+$/.test(section) && (key === 'path' || key === 'active_path')),
    )
    .flatMap((setting) => place('sieve', setting, null, setting.value.replace(/^file:/, '').replace(/;.*$/, '')));
  const attributes = settings
    .filter(({ section, key }) => /^(namespace \S+ )?mail_attribute dict file$/.test(section) && key === 'path')
    .flatMap((setting) => place('attributes', setting, null, setting.value));
  const replica = settings.find(({ section, key, value }) => section === 'plugin' && key === 'mail_replica' && value !== '');
  const plugins = settings.flatMap(({ section, key, value }) =>
    key === 'mail_plugins' ? value.split(/\s+/) : section.split(' ').at(-1) === 'mail_plugins' && value === 'yes' ? [key] : [],
  );
  const fullText = [...new Set(plugins.filter((name) => /^fts(_\w+)?$/.test(name)))].toSorted();
  return {
    fullText,
    places: [...locations, ...later, ...sieve, ...attributes],
    replicates: replica ? `${replica.key} = ${replica.value}` : null,
  };
}

/** Homes of users as the configuration itself gives them; those of a database or of the system are not known here. */
function homesOf(settings: readonly DovecotSetting[]): string[] {
  const users = settings.filter(({ section, key }) => section === 'userdb' && /^(args|default_fields|override_fields)$/.test(key));
  const homes = [
    ...settings.filter(({ section, key, value }) => section === '' && key === 'mail_home' && value !== '').map(({ value }) => value),
    ...users.flatMap(({ value }) => /(?:^|\s)home=(\S+)/.exec(value)?.[1] ?? []),
    ...settings
      .filter(
        ({ section, key }) =>
          (/^userdb \S+ fields$/.test(section) && key === 'home') || (/^passdb \S+ fields$/.test(section) && key === 'userdb_home'),
      )
      .map(({ value }) => value),
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
