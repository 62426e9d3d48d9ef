import type { LeaderBelief, LeaderRoute } from '../messaging/leader-route.js';

/** The most terms that are kept. */
const MOST_TERMS = 50;

/** The terms that this pod has seen since its start. */
export class TermHistory {
  readonly #terms: LeaderBelief[] = [];

  constructor(route: Pick<LeaderRoute, 'current' | 'onChange'>) {
    route.onChange(() => {
      const belief = route.current();
      if (belief === undefined || belief.epoch === this.#terms[0]?.epoch) return;
      this.#terms.unshift(belief);
      this.#terms.length = Math.min(this.#terms.length, MOST_TERMS);
    });
  }

  /** The newest first. */
  get terms(): readonly LeaderBelief[] {
    return this.#terms;
  }
}
