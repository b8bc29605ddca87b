import si from 'systeminformation';

/** What systeminformation knows of a port beside what the kernel tells by itself. */
export interface HardwareFact {
  /** `wired`, `wireless` or empty. */
  type: string;
  isVirtual: boolean;
  /** Whether the system's network configuration gets the address by DHCP. */
  dhcp: boolean;
  /** Megabits per second; null when not known. */
  speedMbits: number | null;
}

const waitMs = 5000;

/** By name of the port. Empty when systeminformation gives no answer in time: what it adds is never needed for a decision. */
export async function netHardware(): Promise<ReadonlyMap<string, HardwareFact>> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<[]>((resolve) => (timer = setTimeout(() => resolve([]), waitMs)));
  try {
    const found = await Promise.race([si.networkInterfaces(), late]);
    const all = Array.isArray(found) ? found : [found];
    return new Map(
      all.map((each) => [
        each.iface,
        {
          type: each.type,
          isVirtual: each.virtual,
          dhcp: each.dhcp,
          speedMbits: each.speed !== null && each.speed > 0 ? each.speed : null,
        },
      ]),
    );
  } catch {
    return new Map();
  } finally {
    clearTimeout(timer);
  }
}
