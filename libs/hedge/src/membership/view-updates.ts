import type { MemberId } from '../common/identity.js';
import type { AdvertisedCapacity, CapacityTable } from './capacity-table.js';
import type { Roster } from './roster.js';
import type { View, ViewChanges } from './view.js';

/** A message of the leader to a member that lacks the present view or capacities. */
export type ViewUpdate =
  | { readonly type: 'send-view'; readonly to: MemberId; readonly view: View; readonly capacity: AdvertisedCapacity }
  /** `changes.changed` also has the members whose capacity has changed. */
  | {
      readonly type: 'send-changes';
      readonly to: MemberId;
      readonly changes: ViewChanges;
      readonly capacity: AdvertisedCapacity;
    };

/** The view and the capacities that a member has, of the leader's term. */
export interface MemberState {
  /** 0 for none. */
  readonly version: number;
  readonly edition: number;
  /** Whether it understands changes. A member of version 0.1 gets whole views. */
  readonly acceptsChanges: boolean;
}

type Changes = Pick<ViewUpdate & { type: 'send-changes' }, 'changes' | 'capacity'>;

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

  /** What these members lack of the published view, computed once for all members with the same state. */
  updates(members: readonly MemberId[], view: View): ViewUpdate[] {
    const { edition } = this.capacity;
    const computed = new Map<string, Changes | undefined>();
    return members.flatMap((to): ViewUpdate[] => {
      const state = this.#states.get(to.incarnation) ?? NOTHING;
      if (state.version >= view.version && state.edition >= edition) return [];
      this.#states.set(to.incarnation, { ...state, version: view.version, edition });
      const from = `${state.version} ${state.edition}`;
      if (state.acceptsChanges && !computed.has(from)) computed.set(from, this.#changesSince(state, view));
      const changes = state.acceptsChanges ? computed.get(from) : undefined;
      if (changes === undefined) return [{ type: 'send-view', to, view, capacity: this.capacity.all }];
      return [{ type: 'send-changes', to, ...changes }];
    });
  }

  #changesSince({ version, edition }: MemberState, { members }: View): Changes | undefined {
    const changes = this.roster.changesSince(version);
    if (changes === undefined) return undefined;
    const capacity = this.capacity.changesSince(edition);
    if (capacity.spaces.size === 0) return { changes, capacity };
    const listed = new Set(changes.changed.map(({ incarnation }) => incarnation));
    const advertised = members.filter(
      ({ incarnation }) => capacity.spaces.has(incarnation) && !listed.has(incarnation),
    );
    return { changes: { ...changes, changed: [...changes.changed, ...advertised] }, capacity };
  }

  /** Removes all but these members. */
  retain(incarnations: ReadonlySet<string>): void {
    for (const incarnation of this.#states.keys()) if (!incarnations.has(incarnation)) this.#states.delete(incarnation);
  }
}
