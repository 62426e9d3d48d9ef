import { Membership } from '../../libs/hedge/src/membership/membership.core.js';
import type { View } from '../../libs/hedge/src/membership/view.js';
import type { Instant } from '../../libs/hedge/src/common/clock.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { LockStateMachine } from '../../libs/hedge/src/locks/lock.core.js';
import type { LockEffect, LockInput } from '../../libs/hedge/src/locks/lock.messages.js';
import { LeaseContender } from '../../libs/hedge/src/lease/lease-contender.core.js';
import type { ContenderEffect, ContenderInput } from '../../libs/hedge/src/lease/lease-contender.messages.js';
import { RequestRouter } from '../../libs/hedge/src/messaging/client/request-routing.core.js';
import type { RoutingEffect, RoutingInput } from '../../libs/hedge/src/messaging/client/request-routing.messages.js';
import { HANDLER_SLOTS } from '../../libs/hedge/src/messaging/request-type.js';
import { GetBatcher, type GetEffect, type GetInput } from '../../libs/hedge/src/kv/get-batcher.core.js';
import {
  isTombstone,
  type ChangesPage,
  type ChangesQuery,
  type LogEntry,
  type LogPlace,
  type TransactionOutcome,
} from '../../libs/hedge/src/database/log-table.js';
import type { PutItem } from '../../libs/hedge/src/kv/group-commit.messages.js';
import { Retention } from '../../libs/hedge/src/kv/retention/retention.core.js';
import {
  WatchNotices,
  type Notice,
  type NoticesInput,
  type WatchScope,
} from '../../libs/hedge/src/kv/watch/watch-notices.core.js';
import { WatchReader, type WatchEffect, type WatchInput } from '../../libs/hedge/src/kv/watch/watch-reader.core.js';
import type { PodCall } from './pod-messaging.js';
import type { Versions } from './pod-reads.js';
import { PLANTED_DATABASES } from './planted-databases.js';
import { PLANTED_EXPIRY } from './planted-expiry.js';
import { PLANTED_JOBS } from './planted-jobs.js';
import { PLANTED_SEMAPHORES } from './planted-semaphores.js';
import type { PlantedBug } from './search.js';
import { SimulatedDatabase } from './database.js';
import { SOUND_PARTS } from './simulate.js';

/** Counts a term's validity from the answer to a renewal, not from its request. */
class ValidFromTheEnd extends LeaseContender {
  override step(input: ContenderInput, now: Instant): readonly ContenderEffect[] {
    const before = this.term?.validSince;
    const effects = super.step(input, now);
    if (this.term !== undefined && this.term.validSince !== before) this.term = { ...this.term, validSince: now };
    return effects;
  }
}

/** Checks validity by the monotonic clock alone, which stands still while the machine sleeps. */
class IgnoresSleep extends LeaseContender {
  override step(input: ContenderInput, now: Instant): readonly ContenderEffect[] {
    const effects = super.step(input, now);
    if (this.term !== undefined) this.term = { ...this.term, validSince: { ...this.term.validSince, wall: Infinity } };
    return effects;
  }
}

/** Judges a lapsed term again, when the clock may have been set back. */
class JudgesAgain extends LeaseContender {
  override step(input: ContenderInput, now: Instant): readonly ContenderEffect[] {
    return super.step(input.type === 'lapsed' ? { type: 'tick' } : input, now);
  }
}

/** The same for a lock. */
class JudgesLocksAgain extends LockStateMachine {
  override step(input: LockInput, now: Instant): readonly LockEffect[] {
    return super.step(input.type === 'lapsed' ? { type: 'tick' } : input, now);
  }
}

/** Grants a lock to the next caller of the process under the token of the last one, without a call to the database. */
class HandsLocksOn extends LockStateMachine {
  readonly #waiting = new Set<number>();

  override step(input: LockInput, now: Instant): readonly LockEffect[] {
    if (input.type === 'wait') this.#waiting.add(input.waiter);
    if (input.type === 'cancel-wait') this.#waiting.delete(input.waiter);
    const [next] = this.#waiting;
    const handsOn = input.type === 'release' && this.term?.token === input.token && next !== undefined;
    const effects: readonly LockEffect[] = handsOn
      ? [
          ...super.step({ type: 'cancel-wait', waiter: next }, now),
          { type: 'granted', waiter: next, token: input.token },
        ]
      : super.step(input, now);
    for (const effect of effects) if ('waiter' in effect) this.#waiting.delete(effect.waiter);
    return effects;
  }
}

/** Does not notify the holder of a lock that its lease has expired. */
class HidesLosses extends LockStateMachine {
  override step(input: LockInput, now: Instant): readonly LockEffect[] {
    return super.step(input, now).filter((effect) => effect.type !== 'lost' || effect.reason !== 'expired');
  }
}

/** Accepts a view of any epoch. */
class AcceptsAnyView extends Membership {
  protected override received(_from: MemberId, view: View): void {
    this.accepted = view;
  }
}

/** Accepts a later view without a check of the lease. */
class BelievesPeers extends Membership {
  protected override received(from: MemberId, view: View): void {
    const later = this.accepted === undefined || view.epoch > this.accepted.epoch;
    if (later) this.accepted = view;
    else super.received(from, view);
  }
}

/** Counts each lost leader as the first one. */
class ForgetsLostLeaders extends RequestRouter<PodCall> {
  readonly #calls = new Set<PodCall>();

  override step(input: RoutingInput<PodCall>, now: number): readonly RoutingEffect<PodCall>[] {
    if (input.type === 'begin') this.#calls.add(input.call);
    for (const call of this.#calls) call.lostLeaders = 0;
    return super.step(input, now);
  }
}

/** Checks deadlines only once a second. */
class SeldomLooksAtDeadlines extends RequestRouter<PodCall> {
  #ticked = -Infinity;

  override step(input: RoutingInput<PodCall>, now: number): readonly RoutingEffect<PodCall>[] {
    if (input.type === 'tick' && now - this.#ticked < 1_000) return [];
    if (input.type === 'tick') this.#ticked = now;
    return super.step(input, now);
  }
}

/** A get joins a call in flight that reads its key. */
class JoinsSentReads extends GetBatcher<Versions> {
  readonly #calls = new Map<number, readonly string[]>();
  readonly #joined: { readonly ticket: number; readonly key: string; readonly call: number }[] = [];

  override step(input: GetInput<Versions>): readonly GetEffect<Versions>[] {
    if (input.type === 'get') {
      const [call] = [...this.#calls].find(([, keys]) => keys.includes(input.key)) ?? [];
      if (call !== undefined) return (this.#joined.push({ ...input, call }), []);
    }
    const effects = [...super.step(input)];
    if (input.type === 'answered') {
      this.#calls.delete(input.call);
      for (const { ticket, key, call } of this.#joined) {
        if (call === input.call) effects.push({ type: 'settle', ticket, outcome: { entry: input.found.get(key) } });
      }
    }
    for (const effect of effects) if (effect.type === 'read') this.#calls.set(effect.call, effect.keys);
    return effects;
  }
}

/** It compares the newest row before it looks for the own one. */
class ForgetsOwnRows extends SimulatedDatabase {
  protected override ownRow(): undefined {
    return undefined;
  }
}

/** It decides each item of a transaction on its own. */
class SplitsTransactions extends SimulatedDatabase {
  override appendIf(transactions: readonly (readonly PutItem[])[], leader: string): TransactionOutcome[] {
    return transactions.map((items) => {
      const outcomes = items.map((item) => super.appendIf([[item]], leader)[0]!);
      const refused = outcomes.flatMap((outcome, place) =>
        'refused' in outcome ? outcome.refused.map(({ newest }) => ({ place, newest })) : [],
      );
      return refused.length > 0 ? { refused } : outcomes[0]!;
    });
  }
}

/** It compares a key that is only checked with what it was when a transaction last named it. */
class ChecksKeysEarlier extends SimulatedDatabase {
  readonly #known = new Map<string, LogEntry | undefined>();

  protected override newestFor(items: readonly PutItem[], key: string): LogEntry | undefined {
    const newest = super.newestFor(items, key);
    const isChecked = items.some((item) => item.key === key && item.append === undefined);
    const known = isChecked && this.#known.has(key) ? this.#known.get(key) : newest;
    this.#known.set(key, newest);
    return known;
  }
}

/** It takes a deleted key for one without rows. */
class ForgetsDeletions extends SimulatedDatabase {
  protected override newestFor(items: readonly PutItem[], key: string): LogEntry | undefined {
    const newest = super.newestFor(items, key);
    return newest && isTombstone(newest) ? undefined : newest;
  }
}

/** It remembers no commit for the pods that ask again. */
class ForgetsNotices extends WatchNotices {
  #last = 0;

  override step(input: NoticesInput): readonly Notice[] {
    if (input.type === 'committed') this.#last += 1;
    if (input.type !== 'ask' || input.seen === undefined) return super.step(input);
    return super.step({ ...input, seen: this.#last });
  }
}

/** It goes on behind the commit of the last row, although the page may end within it. */
class ComparesOnlyTimestamps extends SimulatedDatabase {
  protected override isAfter(row: LogEntry, place: LogPlace): boolean {
    return row.timestamp > place.timestamp;
  }
}

/** A notice during a read causes another read at once, behind the same row. */
class ReadsTwice extends WatchReader {
  #reading: LogPlace | undefined;

  override step(input: WatchInput): readonly WatchEffect[] {
    if (input.type === 'page' || input.type === 'failed') this.#reading = undefined;
    const effects = [...super.step(input)];
    if (input.type === 'noticed' && this.#reading !== undefined) effects.push({ type: 'read', after: this.#reading });
    for (const effect of effects) if (effect.type === 'read') this.#reading = effect.after;
    return effects;
  }
}

/** Its timestamps are given before the commit, so a row can become visible after a row with a later one. */
class ShowsSomeRowsLate extends SimulatedDatabase {
  readonly #visibleAt = new Map<string, number>();

  override changes(query: ChangesQuery): ChangesPage {
    const page = super.changes(query);
    const entries = page.entries.filter(({ key, id, timestamp }) => {
      const row = `${key} ${id} ${timestamp}`;
      const at = this.#visibleAt.get(row) ?? this.world.now + (timestamp % 3n === 0n ? 400 : 0);
      this.#visibleAt.set(row, at);
      return this.world.now >= at;
    });
    return { ...page, entries };
  }
}

/** It goes on although rows behind its place were deleted. */
class IgnoresDeletions extends WatchReader {
  override isCompacted(): boolean {
    return false;
  }
}

/** It records deletions in a later transaction. */
class RecordsDeletionsLate extends SimulatedDatabase {
  readonly #records = new Map<string, { readonly at: number; readonly before: bigint }[]>();

  protected override compactedBefore(scope: WatchScope): bigint {
    const records = this.#records.get(scope.prefix) ?? [];
    this.#records.set(scope.prefix, [...records, { at: this.world.now, before: super.compactedBefore(scope) }]);
    return records.filter(({ at }) => at < this.world.now - 300).at(-1)?.before ?? 0n;
  }
}

/** Bugs, each with the invariants that must find it. */
export const PLANTED: Readonly<Record<string, PlantedBug>> = {
  'validity counted from the end of a renewal': {
    parts: { ...SOUND_PARTS, election: (settings) => new ValidFromTheEnd(settings) },
    found: ['L1', 'L2'],
    conditions: { database: 'shared-clock', fault: 'leader with a slow database pauses' },
  },
  'validity by the monotonic clock alone': {
    parts: { ...SOUND_PARTS, election: (settings) => new IgnoresSleep(settings) },
    found: ['L1', 'L2'],
    conditions: { fault: 'sleep' },
  },
  'a lapsed term judged again': {
    parts: { ...SOUND_PARTS, election: (settings) => new JudgesAgain(settings) },
    found: ['L3'],
    conditions: { fault: 'wall clock set ahead for one reading' },
  },
  'a lapsed lock judged again': {
    parts: { ...SOUND_PARTS, lock: (settings) => new JudgesLocksAgain(settings) },
    found: ['L3'],
    conditions: { fault: 'wall clock set ahead for one reading' },
  },
  'a lock granted to the next caller under the same token': {
    parts: { ...SOUND_PARTS, lock: (settings) => new HandsLocksOn(settings) },
    found: ['L1'],
  },
  'a lock that expires without a notification of its holder': {
    parts: { ...SOUND_PARTS, lock: (settings) => new HidesLosses(settings) },
    found: ['L3'],
  },
  'a view accepted from any epoch': {
    parts: { ...SOUND_PARTS, membership: (settings) => new AcceptsAnyView(settings) },
    found: ['M1'],
  },
  'a later view accepted without a check of the lease': {
    parts: { ...SOUND_PARTS, membership: (settings) => new BelievesPeers(settings) },
    found: ['M1'],
  },
  'a put retried as an overwrite': {
    parts: { ...SOUND_PARTS, retriesPutsAsOverwrites: true },
    found: ['K1', 'K3'],
  },
  'a condition checked before the transaction that writes': {
    parts: { ...SOUND_PARTS, conditions: 'before it' },
    found: ['K4'],
  },
  'a condition checked by what the leader remembers': {
    parts: { ...SOUND_PARTS, conditions: 'in memory' },
    found: ['K4'],
  },
  'a put that was written, repeated, and refused by its own row': {
    parts: { ...SOUND_PARTS, database: (...made) => new ForgetsOwnRows(...made) },
    found: ['K4'],
  },
  'a transaction of which each item is decided on its own': {
    parts: { ...SOUND_PARTS, database: (...made) => new SplitsTransactions(...made) },
    found: ['K5'],
  },
  'a key that is only checked, compared with an older row': {
    parts: { ...SOUND_PARTS, database: (...made) => new ChecksKeysEarlier(...made) },
    found: ['K4'],
  },
  'a deletion taken for an absent row': {
    parts: { ...SOUND_PARTS, database: (...made) => new ForgetsDeletions(...made) },
    found: ['K4'],
  },
  'a notice forgotten between two questions': {
    parts: { ...SOUND_PARTS, watchNotices: () => new ForgetsNotices() },
    found: ['W1'],
  },
  'a watch that goes on behind the commit of the last row': {
    parts: { ...SOUND_PARTS, database: (...made) => new ComparesOnlyTimestamps(...made) },
    found: ['W1'],
  },
  'a watch that reads twice behind the same row': {
    parts: { ...SOUND_PARTS, watchReader: (after) => new ReadsTwice(after) },
    found: ['W1'],
  },
  'a row that becomes visible after a later one': {
    parts: { ...SOUND_PARTS, database: (...made) => new ShowsSomeRowsLate(...made) },
    found: ['W1'],
  },
  'a watch that goes on over deleted rows': {
    parts: { ...SOUND_PARTS, watchReader: (after) => new IgnoresDeletions(after) },
    found: ['W1'],
  },
  'deletions recorded in a later transaction': {
    parts: { ...SOUND_PARTS, database: (...made) => new RecordsDeletionsLate(...made) },
    found: ['W1'],
  },
  'versions deleted before the puts that wrote them have ended': {
    parts: { ...SOUND_PARTS, retention: (rules, limits) => new Retention(rules, { ...limits, leastAgeMs: 0 }) },
    found: ['K1', 'K4'],
    conditions: { fault: 'pod cut off from the database' },
  },
  'a get that joins a read that was sent before': {
    parts: { ...SOUND_PARTS, gets: (limits) => new JoinsSentReads(limits) },
    found: ['K2', 'K3'],
  },
  ...PLANTED_EXPIRY,
  ...PLANTED_JOBS,
  ...PLANTED_DATABASES,
  ...PLANTED_SEMAPHORES,
  'a reply dropped before the caller has received it': {
    parts: { ...SOUND_PARTS, forgetsRepliesEarly: true },
    found: ['once per term'],
  },
  'a request that crashes its leaders sent to every next one': {
    parts: { ...SOUND_PARTS, router: (self, random) => new ForgetsLostLeaders(self, random) },
    found: ['bounded re-runs'],
  },
  'deadlines checked once a second': {
    parts: { ...SOUND_PARTS, router: (self, random) => new SeldomLooksAtDeadlines(self, random) },
    found: ['every call ends'],
  },
  'renewals that share the slots of handlers': {
    parts: { ...SOUND_PARTS, served: (type) => ({ ...type, slots: HANDLER_SLOTS }) },
    found: ['slots of their own'],
  },
};
