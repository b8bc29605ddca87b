import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { program, type Release } from './release.ts';

/** Where a host's part of systemd lies; comes first in the PATH of its agent. */
export function systemdDir(dir: string): string {
  return join(dir, 'systemd');
}

export interface SystemdPart {
  /** Holds everything of the host. */
  dir: string;
  /** Its Dovecot's directory, with the configuration. */
  dovecot: string;
  release: Release;
  gate: string;
}

/**
 * A `systemctl` for a network namespace without an init. It does with `dovecot.service` what systemd does with the unit of
 * Debian's package: `ExecStop=doveadm stop`, then the end of the main process is waited for, and what is left of the
 * control group gets SIGTERM and SIGCONT (systemd.kill(5), KillMode=control-group). All of Dovecot in the namespace is the
 * control group.
 */
export function writeSystemd({ dir, dovecot, release, gate }: SystemdPart): void {
  const own = systemdDir(dir);
  mkdirSync(own, { recursive: true });
  const call = (name: 'dovecot' | 'doveadm') => `${program(release, name)} -c ${dovecot}/dovecot.conf`;
  const script = `#!/bin/sh
pid=${dovecot}/run/master.pid
stopping=${own}/stopping
main() { cat $pid 2> /dev/null; }
# What ended and was not waited for has no program any more.
runs() { [ -n "$1" ] && [ -n "$(readlink "/proc/$1/exe")" ]; }
group() { ip netns pids "$(ip netns identify)" | while read -r each; do case $(readlink /proc/$each/exe) in */dovecot/* | */dovecot) echo $each ;; esac; done; }
verb=$1
case $verb in
  start)
    [ -e ${gate} ] || exit 0
    runs "$(main)" && exit 0
    rm -f $pid
    # Its parent waits for it, as systemd does: a process that nobody has waited for is there to everybody who asks.
    setsid sh -c '${call('dovecot')} -F & wait' > ${own}/start.log 2>&1 &
    while kill -0 $! && ! [ -s $pid ]; do sleep 0.01; done
    runs "$(main)" ;;
  stop)
    main=$(main)
    runs "$main" || [ -n "$(group)" ] || exit 0
    echo $$ > $stopping
    runs "$main" && ${call('doveadm')} stop
    while runs "$main"; do sleep 0.01; done
    left=$(group)
    [ -z "$left" ] || { kill $left; kill -s CONT $left; } 2> /dev/null
    while [ -n "$(group)" ]; do sleep 0.02; done
    rm -f $stopping ;;
  kill) kill -s "\${2#--signal=SIG}" $(group) ;;
  show)
    state=inactive main=0 tasks='[not set]'
    if [ -e $stopping ] && kill -0 "$(cat $stopping)" 2> /dev/null; then state=deactivating main=$(main)
    elif runs "$(main)"; then state=active main=$(main) tasks=1
    elif [ -n "$(group)" ]; then tasks=1; fi
    cat << END
Id=dovecot.service
LoadState=loaded
ActiveState=$state
SubState=$state
MainPID=\${main:-0}
KillMode=control-group
TasksCurrent=$tasks
Conflicts=
ConflictedBy=
END
esac
`;
  for (const [name, text] of Object.entries({ systemctl: script, 'systemd-analyze': '#!/bin/sh\n', journalctl: '#!/bin/sh\n' })) {
    writeFileSync(join(own, name), text);
    chmodSync(join(own, name), 0o755);
  }
}
