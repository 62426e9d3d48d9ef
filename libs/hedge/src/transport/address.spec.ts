import { describe, expect, it } from '@jest/globals';
import { resolveAddress } from './address.js';

type Interfaces = NonNullable<Parameters<typeof resolveAddress>[2]>;

const network = (address: string, internal = false): NonNullable<Interfaces[string]>[number] => {
  const common = { address, netmask: '', mac: '', internal, cidr: null };
  return address.includes(':') ? { ...common, family: 'IPv6', scopeid: 0 } : { ...common, family: 'IPv4' };
};
const lo = [network('127.0.0.1', true), network('::1', true)];
const v4Only: Interfaces = { lo: [network('127.0.0.1', true)], eth0: [network('10.1.2.3')] };

describe('resolveAddress', () => {
  it.each([
    ['10.1.2.3:7400', '10.1.2.3:7400', '10.1.2.3:7400'],
    ['127.0.0.1:0', '127.0.0.1:0', '127.0.0.1:0'],
    ['localhost:7400', 'localhost:7400', 'localhost:7400'],
    ['[::1]:7400', '[::1]:7400', '[::1]:7400'],
    ['[fd00::7]:7400', '[fd00::7]:7400', '[fd00::7]:7400'],
    ['pod-0.orders.svc:7400', 'pod-0.orders.svc:7400', '0.0.0.0:7400'],
  ])('uses %s as given', (address, advertised, bind) => {
    expect(resolveAddress(address, {}, v4Only)).toEqual({ advertised, bind, source: 'given' });
  });

  it('binds a host name on IPv6, too, if the machine has it', () => {
    expect(resolveAddress('pod-0:7400', {}, { lo }).bind).toBe('[::]:7400');
  });

  it('takes the host from POD_IP first', () => {
    expect(resolveAddress(':7400', { POD_IP: '10.9.9.9' }, v4Only)).toEqual({
      advertised: '10.9.9.9:7400',
      bind: '10.9.9.9:7400',
      source: 'POD_IP',
    });
    expect(resolveAddress(':7400', { POD_IP: 'fd00::7' }, v4Only).advertised).toBe('[fd00::7]:7400');
  });

  it('takes it from the first external interface without POD_IP, IPv4 before IPv6', () => {
    const interfaces = { lo, eth0: [network('fd00::7')], eth1: [network('fe80::1'), network('10.1.2.3')] };
    expect(resolveAddress(':7400', {}, interfaces)).toMatchObject({
      advertised: '10.1.2.3:7400',
      source: 'interface eth1',
    });
    expect(resolveAddress(':7400', {}, { lo, eth0: [network('fe80::1'), network('fd00::7')] })).toMatchObject({
      advertised: '[fd00::7]:7400',
      source: 'interface eth0',
    });
  });

  it('uses loopback without an external interface', () => {
    expect(resolveAddress(':7400', {}, { lo })).toMatchObject({ advertised: '127.0.0.1:7400', source: 'loopback' });
  });

  it.each([
    '',
    '7400',
    'host',
    'host:',
    'host:70000',
    '::1:7400',
    '[::1]',
    '[nope]:1',
    '0.0.0.0:7400',
    '[::]:7400',
    'a b:1',
    '1.2.3:4',
    'http://a:1',
  ])('refuses %p, and shows the correct forms', (address) => {
    const resolve = () => resolveAddress(address, {}, v4Only);
    expect(resolve).toThrow(expect.objectContaining({ code: 'INVALID_OPTIONS' }));
    expect(resolve).toThrow(JSON.stringify(address));
  });

  it('refuses a POD_IP that is not an IP address', () => {
    expect(() => resolveAddress(':7400', { POD_IP: 'pod-0' }, v4Only)).toThrow(/POD_IP is "pod-0"/);
  });
});
