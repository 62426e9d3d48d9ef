import { InputQueue } from '../../common/async/input-queue.js';
import type { Clock } from '../../common/clock.js';
import { HedgeError, messageOf } from '../../common/errors.js';
import type { LogTable } from '../../database/log-table.js';
import { notLeading } from '../../messaging/leader-route.js';
import { JobRegistry } from './job-registry.core.js';
import type { RegistryEffect, RegistryInput, RegistrySettings } from './job-registry.messages.js';
import {
  decodeRegistryRow,
  encodeRegistryRow,
  registryRowId,
  type JobChange,
  type JobRecords,
  type RegistryRow,
} from './registry-row.js';

export interface RegistryRunnerOptions extends RegistrySettings {
  readonly log: Pick<LogTable, 'append' | 'latest'>;
  /** Row name of the election lease, whose token fences all rows. */
  readonly lease: string;
  /** Key of the registry in the log table. */
  readonly key: string;
  readonly clock: Clock;
  readonly logger: { warn(message: string): void };
  readonly random?: () => number;
  /** Notified after each row that this pod wrote. */
  readonly onWritten: (key: string, keep: number, token: bigint) => void;
  /** Performs the effects on the schedulers of the jobs. */
  readonly schedulers: {
    start(token: bigint, records: JobRecords): void;
    hold(name: string): void;
    apply(names: readonly string[], records: JobRecords): void;
  };
}

/** Rows that the registry keeps, to see who changed a job. Each has the state of all jobs. */
const KEPT_ROWS = 100;

/** Limit of a row, in characters. Every database accepts it: the limit of Spanner is 2,621,440. */
const MAX_ROW = 2_000_000;

interface PendingChange {
  resolve(): void;
  reject(error: HedgeError): void;
}

/** Performs the effects of the core `JobRegistry` on the log table, on a timer and on the schedulers. */
export class JobRegistryRunner {
  readonly #registry: JobRegistry;
  readonly #inputs = new InputQueue<RegistryInput>((input) => this.#handle(input));
  readonly #changes = new Map<number, PendingChange>();
  #tickets = 0;
  #cancelWake: () => void = () => undefined;
  #unavailable = false;

  constructor(private readonly options: RegistryRunnerOptions) {
    this.#registry = new JobRegistry(options);
  }

  elected(token: bigint): void {
    this.#inputs.push({ type: 'elected', token });
  }

  deposed(token: bigint): void {
    this.#inputs.push({ type: 'deposed', token });
  }

  drain(token: bigint): void {
    this.#inputs.push({ type: 'draining', token });
  }

  /** The scheduler of that job claims nothing until the next `apply` for it. */
  held(name: string): void {
    this.#inputs.push({ type: 'held', name });
  }

  /**
   * Resolves when the change is durable, and the schedulers follow it.
   * @throws HedgeError NOT_LEADER when this pod leads no more. The change is repeatable.
   * @throws HedgeError INVALID_ARGUMENT when the database refuses the row. Nothing was changed.
   */
  async change(change: JobChange): Promise<void> {
    await this.#request(change);
  }

  /**
   * The records after all earlier changes, read in this term.
   * @throws HedgeError NOT_LEADER when this pod leads no more.
   */
  async records(): Promise<JobRecords> {
    await this.#request(undefined);
    return this.#registry.records;
  }

  #request(change: JobChange | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const ticket = (this.#tickets += 1);
      this.#changes.set(ticket, { resolve, reject });
      this.#inputs.push({ type: 'request', ticket, change });
    });
  }

  #handle(input: RegistryInput): void {
    for (const effect of this.#registry.step(input, this.options.clock.now())) this.#perform(effect);
  }

  #perform(effect: RegistryEffect): void {
    const { clock, schedulers } = this.options;
    switch (effect.type) {
      case 'load':
        return void this.#load(effect.call);
      case 'write':
        return void this.#write(effect);
      case 'wake':
        this.#cancelWake();
        this.#cancelWake = clock.after(effect.afterMs, () => this.#inputs.push({ type: 'tick' }));
        return;
      case 'start':
        return schedulers.start(effect.token, effect.records);
      case 'hold':
        return schedulers.hold(effect.name);
      case 'apply':
        return schedulers.apply(effect.names, effect.records);
      case 'settle': {
        const change = this.#changes.get(effect.ticket);
        this.#changes.delete(effect.ticket);
        if (effect.outcome === 'done') change?.resolve();
        else change?.reject(effect.outcome === 'refused' ? refused(effect.problem) : notLeading());
      }
    }
  }

  async #load(call: number): Promise<void> {
    const { log, key } = this.options;
    let input: RegistryInput;
    try {
      const entry = await log.latest(key);
      input = { type: 'loaded', call, row: entry && decodeRegistryRow(entry) };
    } catch (error) {
      input = this.#failed(call, error);
    }
    this.#answered(input);
  }

  async #write({ call, row, token }: Extract<RegistryEffect, { readonly type: 'write' }>): Promise<void> {
    const { log, lease, key, pod, onWritten } = this.options;
    let input: RegistryInput;
    try {
      const append = { key, id: registryRowId(row), value: encodedWithin(row), leader: pod() };
      const [outcome] = await log.append([append], { lease, token });
      if (outcome instanceof HedgeError) throw outcome;
      input = { type: 'written', call };
    } catch (error) {
      const never = error instanceof HedgeError && error.code === 'INVALID_ARGUMENT';
      input = never ? { type: 'refused', call, problem: error.message } : this.#failed(call, error);
    }
    if (input.type === 'written') onWritten(key, KEPT_ROWS, token);
    this.#answered(input);
  }

  #answered(input: RegistryInput): void {
    if (input.type === 'loaded' || input.type === 'written') this.#unavailable = false;
    this.#inputs.push(input);
  }

  #failed(call: number, error: unknown): RegistryInput {
    const { logger, random = Math.random } = this.options;
    const code = error instanceof HedgeError ? error.code : undefined;
    if (code === 'LEASE_LOST') return { type: 'fenced-off', call };
    // Once for each outage.
    if (!this.#unavailable) logger.warn(`The jobs wait for the key of their pauses: ${messageOf(error)}`);
    this.#unavailable = true;
    return { type: code === 'CONFLICT' ? 'conflict' : 'call-failed', call, random: random() };
  }
}

/** @throws HedgeError INVALID_ARGUMENT */
function encodedWithin(row: RegistryRow): string {
  const value = encodeRegistryRow(row);
  if (value.length <= MAX_ROW) return value;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `the state of all jobs would have ${value.length} characters, and ${MAX_ROW} are allowed. Remove added jobs, or give them less data.`,
  );
}

function refused(problem: string): HedgeError {
  return new HedgeError('INVALID_ARGUMENT', `The change of the job was refused, and nothing was done: ${problem}`);
}
