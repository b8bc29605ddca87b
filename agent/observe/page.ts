import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AgentEvent, DoctorReport, Status } from '../../protocol/control.ts';
import { OperatorError } from '../platform/errors.ts';
import { send, type Route } from './http.ts';

export interface PageParts {
  status: () => Status;
  /** What happened on this node, the newest first. */
  events: () => readonly AgentEvent[];
  /** The plan of a failover from this node; rejects where this node cannot take over. */
  plan: () => Promise<{ guards: unknown[]; steps: unknown[] }>;
  /** What the doctor finds, as far as it looks within the agent. */
  doctor: () => Promise<DoctorReport>;
  monotonicMs: () => number;
}

/** A plan asks the network and the BMC: nobody who leaves a page open may do that all the time. */
const planEveryMs = 10_000;
/** It runs programs, connects and logs in. */
const doctorEveryMs = 60_000;
const eventsMax = 20;
/** Nothing but its own files, no inline script, and nobody may frame it. */
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const files = {
  '/page.css': 'text/css; charset=utf-8',
  '/page.js': 'text/javascript; charset=utf-8',
  '/words.js': 'text/javascript; charset=utf-8',
};

function asset(name: string): string {
  return readFileSync(new URL(`./page/${name}`, import.meta.url), 'utf8');
}

/**
 * The status page, for reading alone: `/`, `/checklist`, what they load, and the facts as JSON. It knows German and
 * English, by the browser's languages.
 */
export function pageRoutes({ status, events, plan, doctor, monotonicMs }: PageParts): Record<string, Route> {
  const html = asset('page.html');
  const give = (response: ServerResponse, type: string, text: string) => {
    response.setHeader('content-security-policy', policy);
    response.setHeader('referrer-policy', 'no-referrer');
    send(response, 200, type, text);
  };
  const page: Route = (request, response) =>
    give(response, 'text/html; charset=utf-8', html.replace('<html lang="en">', `<html lang="${languageOf(request)}">`));
  const checklist = rarely(planEveryMs, monotonicMs, () =>
    plan().then(
      ({ guards, steps }) => JSON.stringify({ guards, steps }),
      (error: unknown) => {
        if (!(error instanceof OperatorError)) throw error;
        return JSON.stringify({ message: `${error.message}; ${error.remedy}` });
      },
    ),
  );
  const findings = rarely(doctorEveryMs, monotonicMs, async () => JSON.stringify(await doctor()));
  return {
    '/': page,
    '/checklist': page,
    '/status.json': (_, response) => give(response, 'application/json', JSON.stringify(status())),
    '/events.json': (_, response) => give(response, 'application/json', JSON.stringify(events().slice(0, eventsMax))),
    '/doctor.json': async (_, response) => give(response, 'application/json', await findings()),
    '/checklist.json': async (_, response) => give(response, 'application/json', await checklist()),
    ...Object.fromEntries(
      Object.entries(files).map(([path, type]) => [
        path,
        (_: IncomingMessage, response: ServerResponse) => give(response, type, asset(path.slice(1))),
      ]),
    ),
  };
}

/** Makes an answer at most once in a time, counted from its end, however many ask: all wait for the same one. */
function rarely(everyMs: number, monotonicMs: () => number, make: () => Promise<string>): () => Promise<string> {
  let made: { atMs: number; answer: Promise<string> } | null = null;
  return () => {
    if (made && monotonicMs() - made.atMs <= everyMs) return made.answer;
    const next = { atMs: Infinity, answer: make().finally(() => (next.atMs = monotonicMs())) };
    made = next;
    return next.answer;
  };
}

/** The first of the browser's languages that the page knows. */
function languageOf(request: IncomingMessage): 'de' | 'en' {
  const wanted = (request.headers['accept-language'] ?? '').split(',').map((part) => part.trim().slice(0, 2).toLowerCase());
  return wanted.find((language) => language === 'de' || language === 'en') === 'de' ? 'de' : 'en';
}
