/** The agent's unit (deploy/systemd), and the configuration that it runs. */
export const ownUnit = 'mailtwin.service';
export const unitConfigFile = '/etc/mailtwin/mailtwin.yaml';
