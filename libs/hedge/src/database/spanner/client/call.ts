/** What all attempts of one operation share. */
export interface Call {
  /** Allowed for all attempts together, in milliseconds. */
  readonly timeoutMs: number;
  /** 0 once the caller was told how it ended. */
  remainingMs(): number;
  /** A commit was sent of which nobody knows whether it happened. */
  inDoubt: boolean;
}
