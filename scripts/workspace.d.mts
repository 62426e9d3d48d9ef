/** The folder of the repository. */
export const root: string;
export function ensureInstalled(): void;
export function ensureBuilt(): void;
export function isBuilt(): boolean;
export function run(command: string, args: readonly string[], env?: NodeJS.ProcessEnv): void;
export function start(
  command: string,
  args: readonly string[],
  options?: {
    readonly env?: NodeJS.ProcessEnv;
    readonly stdout?: 'inherit' | 'ignore';
    readonly priority?: number;
    readonly onStderr?: (text: string) => void;
  },
): Promise<number | null>;
