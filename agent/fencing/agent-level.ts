import type { FenceLevelConfig } from '../config/takeover-sections/fencing.ts';
import { OperatorError } from '../platform/errors.ts';
import { fenceAgentPackages } from '../platform/debian-package.ts';
import type { ExecResult } from '../platform/exec.ts';
import { errnoCode } from '../platform/files.ts';
import { readSecret } from '../platform/secret-file.ts';
import { parseMetadata, whyUnfit } from './agent-metadata.ts';
import { evidenceOf, outputBytesMax } from './evidence.ts';
import type { FencingParts } from './fencing.ts';
import { unknownState, type Attempt, type Level, type Observation } from './level.ts';
import { switchOff, type OffResult } from './power-switch.ts';

type Config = FenceLevelConfig & { type: 'agent' };
type Parts = Pick<FencingParts, 'exec' | 'files' | 'clock'>;

/** Where Debian and others put fence agents, which is not in every PATH. */
const agentsDir = '/usr/sbin';

/**
 * A fence agent of ClusterLabs. Everything it is told goes as key=value lines through its standard input, so nothing
 * stands in an argument list. Exit codes are those of the FenceAgentAPI: `status` ends with 0 = on, 2 = off, 1 = error.
 */
export function agentLevel(config: Config, parts: Parts): Level {
  let isFit = false;

  /** @throws OperatorError when the agent cannot be started or a secret cannot be read. */
  async function call(action: 'off' | 'status' | 'metadata', attempt: Attempt): Promise<{ result: ExecResult; evidence: string }> {
    const given = action === 'metadata' ? {} : Object.fromEntries(secretsOf(config, parts));
    const lines = Object.entries({ ...(action === 'metadata' ? {} : config.options), ...given, action });
    const input = lines.map(([key, value]) => `${key}=${value}\n`).join('');
    const options = { input, timeoutMs: Math.max(1, attempt.leftMs()), signal: attempt.signal, outputBytesMax };
    const result = await start(config.agent, options, parts);
    const hidden = Object.values(given).flatMap((secret) => {
      const user = config.options['username'] ?? config.options['login'];
      return user === undefined ? [secret] : [secret, `${user}:${secret}`];
    });
    return { result, evidence: evidenceOf({ ...result, stderr: withoutWarnings(result.stderr) }, hidden) };
  }

  async function fit(attempt: Attempt): Promise<void> {
    if (isFit) return;
    const { result } = await call('metadata', attempt);
    const metadata = result.code === 0 ? parseMetadata(result.stdout) : null;
    if (!metadata)
      throw new OperatorError(
        'fence-agent-metadata',
        `${config.agent} does not say what it can do (action=metadata ${ending(result)})`,
        'name a fence agent of ClusterLabs, or use `type: command`',
      );
    const reason = whyUnfit(config.agent, metadata, config.options);
    if (reason !== null)
      throw new OperatorError(
        'fence-agent-unfit',
        `${config.agent} cannot prove that a node is off: ${reason}`,
        'use another agent, or `type: command`',
        3,
      );
    isFit = true;
  }

  async function read(attempt: Attempt): Promise<Observation> {
    const { result, evidence } = await call('status', attempt);
    const said = evidence === '' ? '' : `: ${evidence}`;
    if (result.code === 0) return { state: 'on', evidence: `${config.name} reads on${said}`, error: null };
    if (result.code === 2) return { state: 'off', evidence: `${config.name} reads off${said}`, error: null };
    const what = `status ${ending(result)}${said}`;
    return unknownState(result.timedOut ? 'fence-timeout' : 'fence-unreadable', what, `${config.name}: ${what}`);
  }

  async function off(attempt: Attempt): Promise<OffResult> {
    const { result, evidence } = await call('off', attempt);
    return {
      ok: result.code === 0,
      timedOut: result.timedOut,
      evidence: `${config.name}: off ${ending(result)}${evidence === '' ? '' : `: ${evidence}`}`,
    };
  }

  return {
    async check(attempt) {
      secretsOf(config, parts);
      await fit(attempt);
    },
    async read(attempt) {
      await fit(attempt);
      return read(attempt);
    },
    async off(attempt, { say }) {
      await fit(attempt);
      return switchOff({ off, read }, parts.clock, attempt, say);
    },
  };
}

function secretsOf(config: Config, parts: Parts): [string, string][] {
  return Object.entries(config.secrets).map(([key, path]) => [key, readSecret(parts.files, path, `${config.name}, ${key}`)]);
}

async function start(agent: string, options: Parameters<Parts['exec']>[2], { exec }: Parts): Promise<ExecResult> {
  const places = agent.includes('/') ? [agent] : [agent, `${agentsDir}/${agent}`];
  let failure: unknown;
  for (const place of places) {
    try {
      return await exec(place, [], options);
    } catch (error) {
      failure = error;
      if (errnoCode(error) !== 'ENOENT') break;
    }
  }
  throw new OperatorError(
    'fence-agent-missing',
    `${agent} cannot be started: ${failure instanceof Error ? failure.message : String(failure)}`,
    `install it (${fenceAgentPackages(agent)}), or correct its name`,
  );
}

/** Python tells the developers of an agent what will change some day; that is no evidence. */
function withoutWarnings(stderr: string): string {
  return stderr.replace(/^.*\b(?:Deprecation|Syntax|Future)Warning:.*\n(?:[ \t]+.*\n?)?/gm, '');
}

function ending(result: ExecResult): string {
  if (result.timedOut) return 'took too long and was killed';
  return result.code === null ? `was ended by ${result.signal}` : `ended with ${result.code}`;
}
