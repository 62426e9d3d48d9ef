import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import type { ChangesPage, ChangesQuery, LogPlace } from '../../libs/hedge/src/database/log-table.js';
import { KV_WATCH, WatchAnnouncer } from '../../libs/hedge/src/kv/watch/watch-announcer.runner.js';
import { WatchHub, type OpenWatch } from '../../libs/hedge/src/kv/watch/watch-hub.runner.js';
import type { WatchScope } from '../../libs/hedge/src/kv/watch/watch-notices.core.js';
import type { Cluster } from './cluster.js';
import { later } from './later.js';
import type { Thread } from './machine.js';
import type { MessagingHost, PodMessaging } from './pod-messaging.js';

/** So few, that the rows of one commit do not fit into one page. */
const PAGE_ROWS = 2;
const HOLD_MS = 2_000;

/** The watches of one process: the real announcer and hub, on simulated messages and a simulated database. */
export class PodWatches {
  readonly announcer: WatchAnnouncer;
  readonly #hub: WatchHub;
  #leaderChanged: () => void = () => undefined;

  constructor(
    private readonly host: MessagingHost & { readonly main: Thread },
    messaging: PodMessaging,
    private readonly cluster: Cluster,
  ) {
    const clock = { now: () => host.now(), after: (ms: number, run: () => void) => host.after(ms, run) };
    this.announcer = new WatchAnnouncer(host.self.incarnation, clock, cluster.parts.watchNotices());
    messaging.committed = (keys) => this.announcer.committed(keys);
    messaging.serve(KV_WATCH, (request, done) => this.announcer.handle(request, done));
    const onChange = (listener: () => void): (() => void) => {
      this.#leaderChanged = listener;
      return () => undefined;
    };
    this.#hub = new WatchHub({
      log: { changes: (query) => this.#changes(query) },
      clock,
      route: { current: () => host.route.current(), onChange },
      request: (request) => messaging.request(request),
      random: cluster.random.next,
      soon: (run) => void host.after(0, run),
      holdMs: HOLD_MS,
      pageRows: PAGE_ROWS,
    });
  }

  leaderChanged(): void {
    this.#leaderChanged();
  }

  close(): void {
    this.#hub.close();
  }

  /** A watch whose reader needs some time for each entry. */
  open(scope: WatchScope, after: LogPlace, readerMs: number): void {
    const { parts, world, watches } = this.cluster;
    const seen = watches.begin(scope, after, this.host.self.incarnation);
    const open: OpenWatch = this.#hub.open(
      scope,
      parts.watchReader(after),
      (entry) => {
        world.count('watches: delivered');
        this.cluster.watch(() => seen.delivered(entry));
        this.host.after(watches.hurried ? 1 : readerMs, () => open.want());
      },
      (error) => {
        if (error?.code !== 'COMPACTED') return;
        world.count('watches: COMPACTED');
        const { version } = error.details['from'] as { readonly version: string };
        this.cluster.watch(() => seen.compacted(BigInt(version)));
      },
    );
    open.want();
  }

  #changes(query: ChangesQuery): Promise<ChangesPage> {
    const { connection, database, world } = this.cluster;
    return later((resolve, reject) => {
      connection.call(
        this.host.main,
        () => database.changes(query),
        (outcome) => {
          if (!this.host.alive) return;
          if (outcome.type === 'done') return resolve(outcome.result);
          world.count('watches: a read failed');
          reject(new HedgeError('BACKEND_UNAVAILABLE', 'simulated'));
        },
      );
    });
  }
}
