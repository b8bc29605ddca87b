/**
 * How Debian brings a fence agent of ClusterLabs, for a remedy. Debian 13 has a package for each family of agents, and its
 * `fence-agents` brings all of them with much else.
 */
export function fenceAgentPackages(agent: string): string {
  const family = agent
    .replace(/^.*\//, '')
    .replace(/^fence_/, '')
    .replaceAll('_', '-');
  return `Debian 13: apt-get install fence-agents-${family}; Debian 12: apt-get install fence-agents`;
}
