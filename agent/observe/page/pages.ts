import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AgentEvent, DoctorFinding, Status } from '../../../protocol/control.ts';
import type { NetworkState } from '../../../protocol/network-state.ts';
import type { Plan, TakeoverLast } from '../../../protocol/takeover.ts';
import type { Clock } from '../../platform/clock.ts';
import { OperatorError } from '../../platform/errors.ts';
import type { LagSample } from './lag-history.ts';
import { nextSteps } from './next-steps.ts';

/** What the page shows, as the agent hands it in. Nothing here changes anything. */
export interface PageParts {
  status: () => Status;
  lag: () => readonly LagSample[];
  network: () => NetworkState | null;
  peerNetwork: () => NetworkState | null;
  events: () => readonly AgentEvent[];
  ways: () => readonly { way: string; waiting: number; lastError: string | null }[];
  takeover: () => TakeoverLast;
  /** State of the mail services, read a moment ago; null where the agent runs none. */
  services: () => Promise<string | null>;
  /** Looks at the whole set-up; takes seconds. */
  doctor: (signal: AbortSignal) => Promise<DoctorFinding[]>;
  /** Makes a plan of a failover, which changes nothing. @throws OperatorError where there is none to make. */
  failoverPlan: () => Promise<Plan>;
  clock: Clock;
}

export interface PageAnswer {
  status: number;
  type: string;
  body: string | Buffer;
  headers: Record<string, string>;
}

/** `default-src 'none'`: whatever is not listed may not be loaded; nothing inline, nothing from elsewhere, no frame around it. */
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const files: Record<string, { file: string; type: string }> = {
  '/': { file: 'status.html', type: 'text/html; charset=utf-8' },
  '/checklist': { file: 'checklist.html', type: 'text/html; charset=utf-8' },
  '/page/page.css': { file: 'page.css', type: 'text/css; charset=utf-8' },
  '/page/icon.svg': { file: 'icon.svg', type: 'image/svg+xml' },
  ...Object.fromEntries(
    ['status', 'checklist', 'dom', 'words', 'poll', 'lag'].map((name) => [
      `/page/${name}.js`,
      { file: `${name}.js`, type: 'text/javascript; charset=utf-8' },
    ]),
  ),
};

/** The doctor looks at most this often, and only when somebody looks at the page. */
const doctorEveryMs = 5 * 60_000;
const servicesEveryMs = 10_000;
/** A plan reads the fence levels and asks the network. */
const planEveryMs = 30_000;

/** The status page and the checklist: answers for the paths that are theirs, null for others. */
export class Pages {
  readonly #p: PageParts;
  readonly #stop = new AbortController();
  readonly #doctor: Now<{ at: string; findings: DoctorFinding[] }>;
  readonly #services: Now<string | null>;
  readonly #checklist: Now<Checklist>;
  readonly #files = new Map<string, Buffer>();

  constructor(parts: PageParts) {
    this.#p = parts;
    const at = () => new Date(parts.clock.wallMs()).toISOString();
    this.#doctor = new Now(parts.clock, doctorEveryMs, async () => ({ at: at(), findings: await parts.doctor(this.#stop.signal) }));
    this.#services = new Now(parts.clock, servicesEveryMs, () => parts.services());
    this.#checklist = new Now(parts.clock, planEveryMs, async () => ({
      at: at(),
      node: parts.status().node,
      ...(await planOrRefusal(parts.failoverPlan)),
    }));
    for (const { file } of Object.values(files)) this.#files.set(file, readFileSync(join(import.meta.dirname, 'files', file)));
  }

  stop(): void {
    this.#stop.abort();
  }

  async answer(path: string, acceptLanguage: string): Promise<PageAnswer | null> {
    if (path === '/status.json') return json(this.#facts());
    if (path === '/checklist.json') return json(await this.#checklist.fresh());
    const known = files[path];
    const bytes = known && this.#files.get(known.file);
    if (!known || !bytes) return null;
    const isPage = known.file.endsWith('.html');
    const body = isPage ? bytes.toString('utf8').replace('<html lang="en">', `<html lang="${languageOf(acceptLanguage)}">`) : bytes;
    return { status: 200, type: known.type, body, headers: { ...headers, ...(isPage ? { vary: 'accept-language' } : {}) } };
  }

  #facts() {
    const { status, lag, network, peerNetwork, events, ways, takeover } = this.#p;
    const now = status();
    const doctor = this.#doctor.last();
    const last = takeover();
    return {
      status: now,
      lag: lag(),
      network: network(),
      peerNetwork: peerNetwork(),
      events: events(),
      services: this.#services.last(),
      doctor,
      next: nextSteps({ status: now, takeover: last, findings: doctor?.findings ?? [], ways: ways() }),
    };
  }
}

interface Checklist {
  at: string;
  node: string;
  plan: Plan | null;
  refusal: { code: string; message: string; remedy: string } | null;
}

async function planOrRefusal(make: () => Promise<Plan>): Promise<Pick<Checklist, 'plan' | 'refusal'>> {
  try {
    return { plan: await make(), refusal: null };
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    const { code, message, remedy } = error;
    return { plan: null, refusal: { code, message, remedy } };
  }
}

const headers = {
  'content-security-policy': policy,
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
};

function json(value: unknown): PageAnswer {
  return { status: 200, type: 'application/json', body: JSON.stringify(value), headers };
}

/** German when the browser prefers it to English (RFC 9110, 12.5.4). */
export function languageOf(acceptLanguage: string): 'de' | 'en' {
  const ranked = acceptLanguage
    .toLowerCase()
    .split(',')
    .slice(0, 20)
    .map((part) => {
      const [tag = '', ...parameters] = part.trim().split(';');
      const weight = Number(/q=([\d.]+)/.exec(parameters.join(';'))?.[1] ?? '1');
      return { tag: tag.split('-')[0], weight: Number.isFinite(weight) ? weight : 0 };
    })
    .filter(({ tag, weight }) => weight > 0 && (tag === 'de' || tag === 'en'))
    .toSorted((a, b) => b.weight - a.weight);
  return ranked[0]?.tag === 'de' ? 'de' : 'en';
}

/** A reading that is made when somebody asks and not more often than `everyMs`; those who ask meanwhile share it. */
class Now<T> {
  readonly #clock: Clock;
  readonly #everyMs: number;
  readonly #make: () => Promise<T>;
  #last: { value: T; atMs: number } | null = null;
  #making: Promise<T> | null = null;
  #failedMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, everyMs: number, make: () => Promise<T>) {
    this.#clock = clock;
    this.#everyMs = everyMs;
    this.#make = make;
  }

  /** What was read last, at once; a new reading begins when it has become old. Null before the first, and when none could be renewed for long (I18). */
  last(): T | null {
    const now = this.#clock.monotonicMs();
    if (this.#isOld(now) && now - this.#failedMs > this.#everyMs / 5) this.fresh().catch(() => {});
    return this.#last && now - this.#last.atMs <= this.#everyMs * 3 ? this.#last.value : null;
  }

  /** Not older than `everyMs`. */
  async fresh(): Promise<T> {
    if (this.#last && !this.#isOld(this.#clock.monotonicMs())) return this.#last.value;
    this.#making ??= this.#make()
      .then((value) => {
        this.#last = { value, atMs: this.#clock.monotonicMs() };
        return value;
      })
      .catch((error: unknown) => {
        this.#failedMs = this.#clock.monotonicMs();
        throw error;
      })
      .finally(() => (this.#making = null));
    return this.#making;
  }

  #isOld(now: number): boolean {
    return this.#last === null || now - this.#last.atMs > this.#everyMs;
  }
}
