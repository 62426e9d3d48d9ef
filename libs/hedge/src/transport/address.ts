import { isIP, isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { HedgeError } from '../common/errors.js';
import { shown } from '../common/validation/shown.js';

export interface ResolvedAddress {
  /** What other members dial: `10.1.2.3:7400`, `[fd00::7]:7400`, `pod-0.orders:7400`. */
  readonly advertised: string;
  /** What this process listens on. */
  readonly bind: string;
  /** Where the host came from, for the log: `given`, `POD_IP`, `interface eth0` or `loopback`. */
  readonly source: string;
}

type Interfaces = ReturnType<typeof networkInterfaces>;

const FORMS = 'write ":7400" (the host is found), "10.1.2.3:7400", "[fd00::7]:7400" or "name:7400"';

/**
 * Where a member is reached, from the `address` option. `:port` takes the host from the variable `POD_IP`, else
 * the first interface that is not internal (IPv4 before IPv6), else loopback.
 *
 * An IP address is also what the process binds, so that it cannot be reached on others; for a name all are
 * bound. Port 0 lets the system choose, for tests.
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

/** Whether a peer can be reached at what it says: `host:port`, as `resolveAddress` makes it. */
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
  if (v6 !== undefined && !isIPv6(v6)) throw invalid(address, 'has no IPv6 address between its brackets');
  if (host === '0.0.0.0' || (v6 !== undefined && /^[0:]+$/.test(v6))) {
    throw invalid(address, `cannot be dialled by others; write ":${port}", and the host is found`);
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
      `The variable POD_IP is ${shown(podIp, '"')}, which is no IP address; set it from status.podIP, or give \`address\` a host`,
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

/** All addresses of the machine: `::` takes IPv4 too, but only where there is IPv6 at all. */
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
