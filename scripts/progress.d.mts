export interface Progress {
  /** Removes the line from a terminal, so that other output can follow. */
  pause(): void;
  /** Ends the report. */
  stop(): void;
}

export interface ProgressOptions {
  /** Default: stderr. */
  readonly out?: Pick<NodeJS.WriteStream, 'write'> & { readonly isTTY?: boolean; readonly columns?: number };
  /** Milliseconds between two redraws on a terminal. Default: 1,000. */
  readonly redrawMs?: number;
  /** Milliseconds between two lines elsewhere. Default: 10,000. */
  readonly lineMs?: number;
}

/** Starts to report what `describe` returns, followed by the seconds since the start. */
export function startProgress(describe: () => string, options?: ProgressOptions): Progress;
