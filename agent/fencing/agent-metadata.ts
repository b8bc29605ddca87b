/** What a fence agent says of itself: the XML that `action=metadata` prints (ClusterLabs, FenceAgentAPI). */
export interface AgentMetadata {
  actions: { name: string; onTarget: boolean }[];
  /** The default of the parameter `method`; null when it has no such parameter, '' when it has no default. */
  methodDefault: string | null;
}

/** Agents whose `status` tells nothing of the power of a host. */
const notPower: Record<string, string> = {
  fence_crosslink: 'its status is whether a cable answers, and a pulled cable does not switch a node off',
  fence_dummy: 'it switches nothing',
};

/** Reads the metadata. Null when the text is none. */
export function parseMetadata(xml: string): AgentMetadata | null {
  if (!/<resource-agent[\s>]/.test(xml)) return null;
  const actions = [...xml.matchAll(/<action\s([^>]*?)\/?>/g)].flatMap(([, attributes = '']) => {
    const name = attribute(attributes, 'name');
    return name === null ? [] : [{ name, onTarget: attribute(attributes, 'on_target') === '1' }];
  });
  const method = [...xml.matchAll(/<parameter\s([^>]*?)>([\s\S]*?)<\/parameter>/g)].find(
    ([, head = '']) => attribute(head, 'name') === 'method',
  );
  const content = method ? /<content\s([^>]*?)\/?>/.exec(method[2] ?? '') : null;
  return { actions, methodDefault: method ? (attribute(content?.[1] ?? '', 'default') ?? '') : null };
}

/**
 * Why an agent cannot prove that a node is off; null when it can. `cycle` and `reboot` leave the node running, so an
 * agent must be able to switch off and to read the state of the plug.
 */
export function whyUnfit(agent: string, metadata: AgentMetadata, options: Readonly<Record<string, string>>): string | null {
  const name = agent.replace(/^.*\//, '');
  const reason = notPower[name];
  if (reason !== undefined) return reason;
  const can = (action: string) => metadata.actions.some((each) => each.name === action);
  if (!can('off')) return `it cannot switch off: its actions are ${metadata.actions.map((each) => each.name).join(', ') || 'none'}`;
  // `monitor` tells whether the device answers, not what the plug is.
  if (!can('status')) return 'it cannot read the state of the plug: it has no action `status`';
  if (metadata.actions.some((each) => each.onTarget))
    return 'it takes storage away and switches nothing off: the node would keep its addresses and its mail services';
  const method = options['method'] ?? metadata.methodDefault;
  if (method === 'cycle') return 'it power-cycles unless `method: onoff` stands in its options';
  return null;
}

function attribute(attributes: string, name: string): string | null {
  return new RegExp(`(?:^|\\s)${name}\\s*=\\s*["']([^"']*)["']`).exec(attributes)?.[1] ?? null;
}
