import { exitCodes } from '../../../protocol/control.ts';
import type { NicsReport, PortEvent, PortFact, RoleFact, SegmentProof } from '../../../protocol/nics.ts';
import { agentOf, type CommonOptions, type Context } from '../context.ts';
import { follow } from '../follow.ts';
import { printable } from '../format.ts';
import type { Paint } from '../paint.ts';
import { jsonText } from '../json.ts';

/** `mailtwin nics`. Exit code 1 when a role's segment is not proven or an alarm stands. */
export async function nicsShow(context: Context, flags: CommonOptions): Promise<number> {
  const agent = await agentOf(context, flags.config);
  const report = await agent.ask('GET /nics', null);
  context.terminal.print(flags.json ? jsonText(report) : nicsText(report, context.terminal.paint));
  const isWell = report.alarms.length === 0 && report.roles.every(({ proof }) => proof.level !== 'fail');
  return isWell ? exitCodes.done : exitCodes.failed;
}

export async function nicsAssign(
  context: Context,
  role: string,
  port: string,
  flags: CommonOptions & { unproven: boolean },
): Promise<number> {
  const agent = await agentOf(context, flags.config);
  const proof = await agent.ask('POST /nics/assign', { role, port, unproven: flags.unproven });
  context.terminal.print(flags.json ? jsonText(proof) : proofText(proof, context.terminal.paint));
  return exitCodes.done;
}

export async function nicsSwap(
  context: Context,
  first: string,
  second: string,
  flags: CommonOptions & { unproven: boolean },
): Promise<number> {
  const agent = await agentOf(context, flags.config);
  const proofs = await agent.ask('POST /nics/swap', { first, second, unproven: flags.unproven });
  if (flags.json) context.terminal.print(jsonText({ proofs }));
  else for (const proof of proofs) context.terminal.print(proofText(proof, context.terminal.paint));
  return exitCodes.done;
}

export async function nicsIdentify(context: Context, blink: string | null, flags: CommonOptions & { seconds: number }): Promise<number> {
  const { terminal } = context;
  const agent = await agentOf(context, flags.config);
  const interrupted = terminal.interrupted();
  const seconds = Math.max(1, flags.seconds);
  if (!flags.json)
    terminal.print(
      blink === null ? 'Pull or plug a cable; Ctrl-C ends the watching.' : `The light of ${printable(blink)} blinks; Ctrl-C ends it.`,
    );
  try {
    const outcome = await follow(context, 'nics identify', agent.stream('POST /nics/identify', { seconds, blink }, interrupted), {
      quiet: true,
      unit: '',
      onPort: (event) => terminal.print(flags.json ? jsonText(event) : eventText(event, terminal.paint)),
    });
    if (!flags.json) terminal.print(printable(outcome.summary));
    return outcome.exitCode;
  } catch (error) {
    // Ctrl-C is how a person ends it.
    if (interrupted.aborted) return exitCodes.done;
    throw error;
  }
}

export function nicsText(report: NicsReport, paint: Paint): string {
  const head = `${printable(report.node)}  at ${report.at}`;
  const ports = table([['PORT', 'ROLE', 'LINK', 'SPEED', 'PERMANENT MAC', 'DRIVER', 'SLOT', 'ADDRESSES'], ...report.ports.map(portRow)]);
  const roles = report.roles.flatMap((role) => ['', roleText(role, paint)]);
  const none = report.roles.length === 0 ? ['', 'No network roles: the configuration has no section network.'] : [];
  const alarms = report.alarms.flatMap(({ code, text, remedy }) => [
    `${paint.bad(`alarm ${code}`)}: ${printable(text)}`,
    `  what to do: ${printable(remedy)}`,
  ]);
  return [paint.bold(head), '', ...ports, ...roles, ...none, ...(alarms.length > 0 ? ['', ...alarms] : [])].join('\n');
}

function portRow(port: PortFact): string[] {
  const link = port.carrier ? 'up' : port.isUp ? 'no cable' : 'off';
  const speed = port.speedMbits === null ? '-' : port.speedMbits >= 1000 ? `${port.speedMbits / 1000} Gb/s` : `${port.speedMbits} Mb/s`;
  const part = port.partOf === null ? '' : ` (part of ${port.partOf})`;
  const addresses = port.addresses.join(' ') + (port.dhcp && port.addresses.length > 0 ? ' by DHCP' : '');
  return [
    port.ifname + part,
    port.roles.join(' ') || '-',
    link,
    speed,
    port.mac,
    port.driver ?? port.kind,
    port.slot ?? '-',
    addresses || '-',
  ].map(printable);
}

/** Lines with columns as wide as their widest cell. */
function table(rows: readonly string[][]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

function roleText(role: RoleFact, paint: Paint): string {
  const peer = role.peerPort ? `${role.peerPort.ifname} (${role.peerPort.mac})${role.peerPort.carrier ? '' : ', no carrier'}` : 'not known';
  return [
    `${paint.bold(printable(role.name))}${role.vlan === 0 ? '' : `  VLAN ${role.vlan}`}  ${role.addresses.map(printable).join('  ')}`,
    `  here   ${markOf(role.proof, paint)}  ${printable(role.proof.evidence)}${howText(role.proof)}`,
    `  peer   ${printable(peer)}`,
    `  held   ${role.held.length === 0 ? 'none' : role.held.map(printable).join('  ')}`,
  ].join('\n');
}

function markOf({ level }: SegmentProof, paint: Paint): string {
  return { pass: paint.good('proven'), warn: paint.warn('weak'), fail: paint.bad('unproven') }[level];
}

function howText({ mappedBy }: SegmentProof): string {
  if (mappedBy === 'address') return ' (port found by its address)';
  return mappedBy === 'slot' ? ' (another card than the assigned one, in its slot)' : '';
}

export function proofText(proof: SegmentProof, paint: Paint): string {
  return `${printable(proof.role)}  ${markOf(proof, paint)}  ${printable(proof.evidence)}`;
}

export function eventText({ ifname, mac, slot, roles, what }: PortEvent, paint: Paint): string {
  const facts = [mac, ...(slot === null ? [] : [slot]), ...roles.map((role) => `role ${role}`)].map(printable).join(', ');
  return `${what === 'pulled' ? paint.warn('pulled ') : paint.good('plugged')}  ${paint.bold(printable(ifname))}  ${facts}`;
}
