import type { MemberId } from '../common/identity.js';
import type { AdvertisedCapacity, CapacityTable } from './capacity-table.js';
import type { Roster } from './roster.js';
import type { View, ViewChanges, ViewMember } from './view.js';

/** A message of the leader to a member that lacks the present view or capacities. */
export type ViewUpdate =
  | { readonly type: 'send-view'; readonly to: MemberId; readonly view: View; readonly capacity: AdvertisedCapacity }
  | {
      readonly type: 'send-changes';
      readonly to: MemberId;
      readonly changes: ViewChanges;
      readonly capacity: AdvertisedCapacity;
      /** Of the view, so that changed capacities have their members. */
      readonly members: readonly ViewMember[];
    };

/** The view and the capacities that a member has, of the leader's term. */
export interface MemberState {
  /** 0 for none. */
  readonly version: number;
  readonly edition: number;
  /** Whether it understands changes. A member of version 0.1 gets whole views. */
  readonly acceptsChanges: boolean;
}

const NOTHING: MemberState = { version: 0, edition: 0, acceptsChanges: false };

/**
 * Decides for each member what the leader sends: nothing, the changes since the version that the member has, or the whole
 * view. Pure; one instance per term.
 *
 * The leader assumes that a message arrives. Each heartbeat reports the true state, so a lost message is repeated then.
 */
export class ViewUpdates {
  readonly #states = new Map<string, MemberState>();

  constructor(
    private readonly roster: Pick<Roster, 'changesSince'>,
    private readonly capacity: Pick<CapacityTable, 'edition' | 'all' | 'changesSince'>,
  ) {}

  /** Records the state that a heartbeat reports. */
  reported(incarnation: string, state: MemberState): void {
    // A member of version 0.1 does not report its edition.
    const edition = state.acceptsChanges ? state.edition : (this.#states.get(incarnation)?.edition ?? 0);
    this.#states.set(incarnation, { ...state, edition });
  }

  /** What these members lack of the published view. Members with the same state share one object of changes. */
  updates(members: readonly MemberId[], view: View): ViewUpdate[] {
    const { edition } = this.capacity;
    const changesSince = memoized((base) => this.roster.changesSince(base));
    const capacitySince = memoized((since) => this.capacity.changesSince(since));
    return members.flatMap((to): ViewUpdate[] => {
      const state = this.#states.get(to.incarnation) ?? NOTHING;
      if (state.version >= view.version && state.edition >= edition) return [];
      this.#states.set(to.incarnation, { ...state, version: view.version, edition });
      const changes = state.acceptsChanges ? changesSince(state.version) : undefined;
      if (changes === undefined) return [{ type: 'send-view', to, view, capacity: this.capacity.all }];
      return [{ type: 'send-changes', to, changes, capacity: capacitySince(state.edition), members: view.members }];
    });
  }

  /** Removes all but these members. */
  retain(incarnations: ReadonlySet<string>): void {
    for (const incarnation of this.#states.keys()) if (!incarnations.has(incarnation)) this.#states.delete(incarnation);
  }
}

function memoized<Result>(compute: (from: number) => Result): (from: number) => Result {
  const results = new Map<number, Result>();
  return (from) => {
    if (!results.has(from)) results.set(from, compute(from));
    return results.get(from) as Result;
  };
}
