// The progress of a long command, on stderr: one line that is redrawn each second on a terminal, and a new line every
// ten seconds in a pipe or a log. Plain Node, because `npm test` uses it before anything is installed.

const REDRAW_MS = 1_000;
const LINE_MS = 10_000;
const CLEAR = '\r\u001B[2K';

/**
 * Starts to report what `describe` returns. The report does not keep the process alive.
 * `pause` removes the line from a terminal, so that other output can follow; the next redraw shows it again.
 */
export function startProgress(describe, { out = process.stderr, redrawMs = REDRAW_MS, lineMs = LINE_MS } = {}) {
  const terminal = out.isTTY;
  const startedAt = performance.now();
  const write = () => {
    const text = `… ${describe()}, ${((performance.now() - startedAt) / 1_000).toFixed(0)} s`;
    // The cursor goes back to the start of the line, so that other output overwrites it.
    out.write(terminal ? `${CLEAR}${shorten(text, out.columns)}\r` : `${text}\n`);
  };
  const timer = setInterval(write, terminal ? redrawMs : lineMs).unref();
  const pause = () => {
    if (terminal) out.write(CLEAR);
  };
  return {
    pause,
    stop: () => {
      clearInterval(timer);
      pause();
    },
  };
}

/** A line that is longer than the terminal would not be cleared as a whole. */
function shorten(text, columns = 80) {
  return text.length < columns ? text : `${text.slice(0, columns - 2)}…`;
}
