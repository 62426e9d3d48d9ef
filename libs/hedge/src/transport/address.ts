import { isIP, isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { HedgeError } from '../common/errors.js';
import { shown } from '../common/validation/shown.js';

export interface ResolvedAddress {
  /** The address that other members dial: `10.1.2.3:7400`, `[fd00::7]:7400`, `pod-0.orders:7400`. */
  readonly advertised: string;
  /** The address that this process binds. */
  readonly bind: string;
  /** The source of the host, for the log: `given`, `POD_IP`, `interface eth0` or `loopback`. */
  readonly source: string;
}

type Interfaces = ReturnType<typeof networkInterfaces>;

const FORMS = 'write ":7400" (Hedge then chooses the host), "10.1.2.3:7400", "[fd00::7]:7400" or "name:7400"';

/**
 * Resolves the `address` option. For `:port`, the host comes from the variable `POD_IP`, else from the first external
 * interface (IPv4 before IPv6), else it is loopback.
 *
 * With an IP address, the process binds only that address. With a host name, it binds all addresses. With port 0, the
 * system chooses a port, for tests.
 *
 * @throws HedgeError INVALID_OPTIONS with the value and the fix.
 *
 * @example
 * resolveAddress(':7400', { POD_IP: '10.1.2.3' }) // { advertised: '10.1.2.3:7400', bind: '10.1.2.3:7400', source: 'POD_IP' }
 */
export function resolveAddress(
  address: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
  interfaces: Interfaces = networkInterfaces(),
): ResolvedAddress {
  const { host, port } = parse(address);
  const found = host === '' ? findHost(env, interfaces) : { host, source: 'given' };
  const advertised = join(found.host, port);
  const bindsAll = isIP(found.host) === 0 && found.host !== 'localhost';
  return { advertised, bind: bindsAll ? join(anyHost(interfaces), port) : advertised, source: found.source };
}

/** Whether a text of a peer has the form `host:port`, as `resolveAddress` returns it. */
export function isHostAndPort(text: string): boolean {
  if (text.length > 256) return false;
  const match = /^(?:\[(?<v6>[^\]]*)\]|(?<name>[\w.-]+)):(?<port>\d{1,5})$/.exec(text);
  if (!match || Number(match.groups?.['port']) > 65_535) return false;
  const v6 = match.groups?.['v6'];
  return v6 === undefined || isIPv6(v6);
}

function parse(address: string): { host: string; port: number } {
  const match = /^(?:\[(?<v6>[^\]]*)\]|(?<name>[^:[\]]*)):(?<port>\d{1,5})$/.exec(address);
  const port = Number(match?.groups?.['port']);
  if (!match || port > 65_535) throw invalid(address, `is not host:port; ${FORMS}`);
  const v6 = match.groups?.['v6'];
  const host = v6 ?? match.groups?.['name'] ?? '';
  if (v6 !== undefined && !isIPv6(v6)) throw invalid(address, `has no IPv6 address in its brackets; ${FORMS}`);
  if (host === '0.0.0.0' || (v6 !== undefined && /^[0:]+$/.test(v6))) {
    throw invalid(address, `cannot be dialled by other pods; write ":${port}", and Hedge chooses the host`);
  }
  const looksLikeIp = /^[\d.]+$/.test(host);
  if (v6 === undefined && host !== '' && (looksLikeIp ? isIP(host) === 0 : !/^[\w-]+(\.[\w-]+)*\.?$/.test(host))) {
    throw invalid(address, `has no valid host; ${FORMS}`);
  }
  return { host, port };
}

function findHost(
  env: Readonly<Record<string, string | undefined>>,
  interfaces: Interfaces,
): { host: string; source: string } {
  const podIp = env['POD_IP']?.trim();
  if (podIp) {
    if (isIP(podIp) !== 0) return { host: podIp, source: 'POD_IP' };
    throw new HedgeError(
      'INVALID_OPTIONS',
      `The variable POD_IP is ${shown(podIp, '"')}, which is not an IP address; set it from status.podIP, or give \`address\` a host`,
      { details: { POD_IP: shown(podIp) } },
    );
  }
  for (const family of ['IPv4', 'IPv6']) {
    for (const [name, addresses = []] of Object.entries(interfaces)) {
      const usable = addresses.find((one) => one.family === family && !one.internal && !one.address.startsWith('fe80'));
      if (usable) return { host: usable.address, source: `interface ${name}` };
    }
  }
  return { host: '127.0.0.1', source: 'loopback' };
}

/** All addresses of the machine. `::` includes IPv4, but needs a machine with IPv6. */
function anyHost(interfaces: Interfaces): string {
  const all = Object.values(interfaces).flatMap((addresses) => addresses ?? []);
  return all.some(({ family }) => family === 'IPv6') ? '::' : '0.0.0.0';
}

function join(host: string, port: number): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

function invalid(address: string, problem: string): HedgeError {
  return new HedgeError('INVALID_OPTIONS', `Option \`address\` ${shown(address, '"')} ${problem}`, {
    details: { option: 'address', value: shown(address) },
  });
}
