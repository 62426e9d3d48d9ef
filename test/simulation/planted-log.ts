import {
  isTombstone,
  type ChangesPage,
  type ChangesQuery,
  type LogEntry,
  type LogPlace,
  type LogTrim,
  type TransactionOutcome,
} from '../../libs/hedge/src/database/log-table.js';
import { GetBatcher, type GetEffect, type GetInput } from '../../libs/hedge/src/kv/get-batcher.core.js';
import type { PutItem } from '../../libs/hedge/src/kv/group-commit.messages.js';
import { Retention } from '../../libs/hedge/src/kv/retention/retention.core.js';
import {
  WatchNotices,
  type Notice,
  type NoticesInput,
  type WatchScope,
} from '../../libs/hedge/src/kv/watch/watch-notices.core.js';
import { WatchReader, type WatchEffect, type WatchInput } from '../../libs/hedge/src/kv/watch/watch-reader.core.js';
import { SimulatedDatabase } from './database.js';
import type { Conditions } from './faults.js';
import type { Versions } from './pod-reads.js';
import type { PlantedBug } from './search.js';
import { SOUND_PARTS } from './simulate.js';

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

/** It deletes a tombstone before the versions that it hides. */
class DeletesTombstonesFirst extends SimulatedDatabase {
  protected override oldVersions(versions: readonly LogEntry[], trim: LogTrim): readonly LogEntry[] {
    const old = super.oldVersions(versions, trim);
    return old.length === versions.length ? [...old].reverse() : old;
  }
}

/** The leader stays, so that retention deletes. */
const UNDER_ONE_LEADER: Conditions = { fault: 'links cut' };

/** Fast enough to delete a version while its put is still tried. */
const AT_ONCE = { leastAgeMs: 0, everyMs: 100, keys: 20, rows: 20 };

/** Bugs of the log, its watches and its retention, each with the invariants that must find it. */
export const PLANTED_LOG: Readonly<Record<string, PlantedBug>> = {
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
    // The caller of a refused transaction gets the older row, as if it were the newest.
    found: ['K2', 'K4'],
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
    conditions: UNDER_ONE_LEADER,
  },
  'deletions recorded in a later transaction': {
    parts: { ...SOUND_PARTS, database: (...made) => new RecordsDeletionsLate(...made) },
    found: ['W1'],
    conditions: UNDER_ONE_LEADER,
  },
  'a tombstone deleted before the versions that it hides': {
    parts: { ...SOUND_PARTS, database: (...made) => new DeletesTombstonesFirst(...made) },
    found: ['K1', 'K2'],
    conditions: UNDER_ONE_LEADER,
  },
  'versions deleted before the puts that wrote them have ended': {
    parts: { ...SOUND_PARTS, retention: (rules, limits) => new Retention(rules, { ...limits, ...AT_ONCE }) },
    found: ['K1', 'K4'],
    conditions: { ...UNDER_ONE_LEADER, calls: { failBefore: 0, failAfter: 0, slow: 0, late: 0.12 }, pauseMs: 25 },
  },
  'a get that joins a read that was sent before': {
    parts: { ...SOUND_PARTS, gets: (limits) => new JoinsSentReads(limits) },
    found: ['K2', 'K3'],
  },
};
