import type { Console } from './console.js';

/** Runs the steps of a tour one after another, and counts passed and failed steps. */
export class Steps {
  private passed = 0;
  private failed = 0;

  /** @param stop when it aborts, no further step is run or printed. */
  constructor(
    private readonly console: Console,
    private readonly stop: AbortSignal,
  ) {}

  /** @param body resolves with the result as text; throws when the step fails. */
  async run(name: string, body: () => Promise<string>): Promise<void> {
    if (this.stop.aborted) return;
    this.console.line(`\n-- ${name}`);
    try {
      const figure = await body();
      if (this.stop.aborted) return;
      this.passed += 1;
      this.console.line(`   ok: ${figure}`);
    } catch (error) {
      if (this.stop.aborted) return;
      this.failed += 1;
      this.console.line(`   FAILED: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** Prints the last line. @returns whether all steps ran and passed. */
  finish(): boolean {
    if (this.stop.aborted) return false;
    this.console.line(`\ntour: ${this.passed} passed, ${this.failed} failed`);
    return this.failed === 0;
  }
}
