import { randomUUID } from 'node:crypto';
import type { LeaseClaim } from '../../libs/hedge/src/database/lease-table.js';
import type { LogAppend } from '../../libs/hedge/src/database/log-table.js';

export function claimOf(name: string = randomUUID(), leaseMs = 60_000): LeaseClaim {
  return { name, holder: { address: '127.0.0.1:8080', incarnation: randomUUID() }, leaseMs };
}

export function rowOf(key: string, value = 'value', id: string = randomUUID()): LogAppend {
  return { key, id, value, leader: '127.0.0.1:8080' };
}
