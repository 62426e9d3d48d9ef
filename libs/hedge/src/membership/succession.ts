import type { MemberId } from '../common/identity.js';

/** A member that is ready to lead, as its heartbeats describe it. */
export interface Candidate {
  /** `preferNewest.appVersion` of that member; '' for none, which is the oldest. */
  readonly appVersion: string;
  /** The start of its process in milliseconds since 1970, by its own clock. */
  readonly startedAt: number;
}

export type CandidateMember = Candidate & { readonly member: MemberId };

/** Numbers between dots, then a pre-release after `-` and build metadata after `+`, as in Semantic Versioning. */
const APP_VERSION = /^v?(\d+(?:\.\d+)*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?$/;
const MAX_LENGTH = 64;

/** Whether the text has a place in the order of versions. */
export function isAppVersion(text: string): boolean {
  return text.length <= MAX_LENGTH && APP_VERSION.test(text);
}

/**
 * Positive when the first version is the newer one; 0 when neither is. As in Semantic Versioning 2.0.0, section 11, with
 * any count of numbers: `1.10` is newer than `1.9.3`, `2.0.0` than `2.0.0-rc.1`. A text that is no version is the oldest.
 */
export function compareAppVersions(first: string, second: string): number {
  const [a, b] = [APP_VERSION.exec(first), APP_VERSION.exec(second)];
  if (a === null || b === null) return Number(a !== null) - Number(b !== null);
  const numbers = compareLists(identifiers(a[1]), identifiers(b[1]), '0');
  if (numbers !== 0) return numbers;
  if (a[2] === undefined || b[2] === undefined) return Number(a[2] === undefined) - Number(b[2] === undefined);
  return compareLists(identifiers(a[2]), identifiers(b[2]));
}

/** The member that leads next: of the newest version if versions count, and of these the one that started last. */
export function newestOf(candidates: readonly CandidateMember[], versionsCount: boolean): CandidateMember | undefined {
  return candidates.reduce<CandidateMember | undefined>((newest, one) => {
    if (newest === undefined) return one;
    const versions = versionsCount ? compareAppVersions(one.appVersion, newest.appVersion) : 0;
    return versions > 0 || (versions === 0 && one.startedAt > newest.startedAt) ? one : newest;
  }, undefined);
}

function identifiers(text = ''): string[] {
  return text.split('.');
}

/** @param missing stands for the identifiers that the shorter list lacks; without it, the shorter list is older. */
function compareLists(a: readonly string[], b: readonly string[], missing?: string): number {
  for (let index = 0; index < Math.max(a.length, b.length); index += 1) {
    const [one, other] = [a[index] ?? missing, b[index] ?? missing];
    if (one === undefined || other === undefined) return a.length - b.length;
    const order = compareIdentifiers(one, other);
    if (order !== 0) return order;
  }
  return 0;
}

function compareIdentifiers(a: string, b: string): number {
  const [one, other] = [a, b].map((text) => (/^\d+$/.test(text) ? BigInt(text) : undefined));
  if (one !== undefined && other !== undefined) return one > other ? 1 : one < other ? -1 : 0;
  if (one !== undefined || other !== undefined) return one === undefined ? 1 : -1;
  return a > b ? 1 : a < b ? -1 : 0;
}
