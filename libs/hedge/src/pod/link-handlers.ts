import type { Logger } from '../common/line-logger.js';
import type { MembershipRunner } from '../membership/membership.runner.js';
import type { LeaderElector } from '../election/leader-elector.runner.js';
import type { LockQueueRunner } from '../locks/lock-queue.runner.js';
import type { Messenger } from '../messaging/messenger.js';
import type { SemaphoreServer } from '../semaphores/server/semaphore-server.runner.js';
import type { FrameBody, Link, Transport } from '../transport/transport.js';
import { type Metrics, NO_METRICS } from '../telemetry/metrics.js';

export interface LinkParts {
  readonly elector: Pick<LeaderElector, 'heard' | 'heartbeat' | 'leaderReleased' | 'leaseRenewed' | 'linkClosed'>;
  readonly membership: Pick<MembershipRunner, 'frame' | 'linkClosed'>;
  readonly messenger: Messenger;
  readonly locks: Pick<LockQueueRunner, 'frame' | 'heartbeat' | 'unlinked'>;
  readonly semaphores: Pick<SemaphoreServer, 'unlinked'>;
}

/** Passes each frame and event of the links to the part that handles it. */
export function connectLinks(
  transport: Transport,
  { elector, membership, messenger, locks, semaphores }: LinkParts,
  logger: Pick<Logger, 'debug'>,
  metrics: Metrics = NO_METRICS,
): void {
  transport.attach(
    {
      frame(link, body) {
        elector.heard(epochOf(body));
        if (body.$case === 'heartbeat') {
          elector.heartbeat(link);
          locks.heartbeat(link, body.value.acceptsChanges);
        }
        if (messenger.frame(link, body) || membership.frame(link, body) || locks.frame(link, body)) return;
        if (body.$case === 'leaderReleased')
          elector.leaderReleased(body.value.epoch, body.value.successor || undefined);
        if (body.$case === 'leaseRenewed') elector.leaseRenewed(link.peer, body.value);
      },
      acknowledged: (link, sequences) => messenger.acknowledged(link, sequences),
      opened(link) {
        logger.debug(`Link ${sides(link)} opened`, { event: 'link.opened', ...endsOf(link) });
        metrics.add('hedge.link.opens', { direction: link.direction, resumed: String(link.resumed) });
        messenger.opened(link);
      },
      closed(link, reason) {
        const error = reason.message;
        logger.debug(`Link ${sides(link)} closed: ${error}`, { event: 'link.closed', ...endsOf(link), error });
        messenger.closed(link, reason);
        membership.linkClosed(link);
        if (link.direction === 'accepted') {
          semaphores.unlinked(link.peer);
          locks.unlinked(link.peer);
        } else elector.linkClosed(link.peer);
      },
    },
    messenger,
  );
}

/** The latest term that the sender of a frame knows; 0n when the frame names none. */
function epochOf({ $case, value }: FrameBody): bigint {
  if ($case === 'reply') return value.failure?.leader?.epoch ?? 0n;
  if ($case === 'leaseRenewed') return value.token;
  return 'epoch' in value ? value.epoch : 0n;
}

function sides({ direction, peer }: Link): string {
  return direction === 'dialled' ? `to ${peer.address}` : `from ${peer.address || 'a client'}`;
}

function endsOf({ direction, peer }: Link): { readonly peer: string; readonly direction: string } {
  return { peer: peer.address || peer.incarnation, direction };
}
