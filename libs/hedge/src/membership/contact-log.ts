import type { Logger } from '../common/line-logger.js';
import type { MemberId } from '../common/identity.js';
import type { MembershipEffect } from './membership.core.js';

type ContactEffect = MembershipEffect & {
  readonly type: 'members-silent' | 'members-heard' | 'contact-lost' | 'contact-restored' | 'resign';
};

interface ContactLogOptions {
  readonly transport: { readonly self: MemberId };
  readonly timing: { readonly heartbeatTimeoutMs: number };
  readonly logger: Pick<Logger, 'log' | 'warn'>;
}

/** Logs when a leader and its members lose contact, and when they restore it. */
export function logContact(effect: ContactEffect, { transport, timing, logger }: ContactLogOptions): void {
  const { address } = transport.self;
  const { heartbeatTimeoutMs } = timing;
  switch (effect.type) {
    case 'members-silent': {
      const silent = effect.silent.map((member) => member.address).join(', ');
      return logger.warn(
        `Most members are silent: this leader has heard nothing from ${silent} for ${heartbeatTimeoutMs} ms, and hears ${effect.heard} other members. The silent members have ended, or they cannot reach ${address}. This pod resigns if one of them reports that it reaches more members.`,
        { event: 'members.silent', silent, heard: effect.heard },
      );
    }
    case 'members-heard':
      return logger.log('This leader hears most members again', { event: 'members.heard' });
    case 'contact-lost':
      return logger.warn(
        `The leader ${effect.leader.address} has not answered for ${heartbeatTimeoutMs} ms, but holds the lease in the database. Messages to it fail, and this pod is not ready after a while. Check whether this pod can connect to ${effect.leader.address}.`,
        { event: 'contact.lost', leader: effect.leader.address },
      );
    case 'contact-restored':
      return logger.log('The leader answers again, or another pod leads', { event: 'contact.restored' });
    case 'resign':
      return logger.warn(
        `This leader resigns: ${effect.better.address} reports that it reaches more members than this pod hears. Check whether the other pods can connect to ${address}.`,
      );
  }
}
