import type { MembershipRunner } from '../membership/membership.runner.js';
import type { LeaderElector } from '../election/leader-elector.runner.js';
import type { LockReleaseAnnouncer } from '../locks/lock-release-announcer.js';
import type { Messenger } from '../messaging/messenger.js';
import type { SemaphoreServer } from '../semaphores/server/semaphore-server.runner.js';
import type { Link, Transport } from '../transport/transport.js';

/** Gives each frame and event of the links to the part that it is for. */
export function connectLinks(
  transport: Transport,
  parts: {
    keeper: LeaderElector;
    views: MembershipRunner;
    messenger: Messenger;
    arbiter: SemaphoreServer;
    lockNotices: LockReleaseAnnouncer;
  },
  logger: { debug(message: string): void },
): void {
  const { keeper, views, messenger, arbiter, lockNotices } = parts;
  transport.attach(
    {
      frame(link, body) {
        if (messenger.frame(link, body) || views.frame(link, body) || lockNotices.frame(link, body)) return;
        if (body.$case === 'leaderReleased') keeper.leaderReleased(body.value.epoch);
      },
      acknowledged: (link, sequences) => messenger.acknowledged(link, sequences),
      opened(link) {
        logger.debug(`Link ${sides(link)} opened`);
        messenger.opened(link);
      },
      closed(link, reason) {
        logger.debug(`Link ${sides(link)} closed: ${reason.message}`);
        messenger.closed(link, reason);
        views.linkClosed(link);
        if (link.direction === 'accepted') arbiter.unlinked(link.peer);
      },
    },
    messenger,
  );
}

function sides({ direction, peer }: Link): string {
  return direction === 'dialled' ? `to ${peer.address}` : `from ${peer.address || 'a client'}`;
}
