import type { FrameBody, Link } from '../transport.js';

/**
 * Sends a notice, which may be lost: whoever it would have told finds out later by itself. So a queue that is full is
 * no failure.
 * @returns whether it was taken.
 */
export function notify(link: Link, notice: FrameBody): boolean {
  try {
    link.send(notice);
    return true;
  } catch {
    return false;
  }
}
