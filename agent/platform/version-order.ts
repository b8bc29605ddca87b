/** Numbers of a version one by one; what follows a hyphen counts as less than nothing: 1.0.0-rc.1 is older than 1.0.0. */
export function olderThan(a: string, b: string): boolean {
  const parse = (text: string) => {
    const [, numbers = '', rest = ''] = /([\d.]+)(.*)$/.exec(text) ?? [];
    return { numbers: numbers.split('.').map(Number), rest };
  };
  const [x, y] = [parse(a), parse(b)];
  for (let i = 0; i < Math.max(x.numbers.length, y.numbers.length); i++) {
    const [m, n] = [x.numbers[i] ?? 0, y.numbers[i] ?? 0];
    if (m !== n) return m < n;
  }
  return x.rest.startsWith('-') && !y.rest.startsWith('-');
}

/** `dovecot 2.3.19` is a dovecot. */
export function productOf(version: string): string {
  return version.replace(/[\d.].*$/, '').trim();
}
