const COLOURS = ['\u001B[36m', '\u001B[33m', '\u001B[35m', '\u001B[32m', '\u001B[34m'];
const RESET = '\u001B[0m';
/** Moves the cursor to the beginning of the line, and clears it. */
const OVER = '\r\u001B[2K';

/** The output of the runner: one line for each event, with a colour for each source if the terminal has colours. */
export class Console {
  private readonly colours = new Map<string, string>();
  /** The last line shows progress, and the next progress may replace it. */
  private unfinished = false;

  constructor(
    private readonly out: NodeJS.WriteStream = process.stdout,
    private readonly coloured = out.isTTY && process.env['NO_COLOR'] === undefined,
  ) {}

  /** Prints an event of a pod. */
  event(source: string, text: string): void {
    this.line(this.formatted(source, text));
  }

  /** Prints the progress of a pod. On a terminal, it replaces the previous progress. */
  progress(source: string, text: string): void {
    if (!this.out.isTTY) return this.event(source, text);
    this.out.write(`${this.unfinished ? OVER : ''}${this.formatted(source, text)}`);
    this.unfinished = true;
  }

  /** Prints a line of the runner. */
  line(text = ''): void {
    this.out.write(`${this.unfinished ? '\n' : ''}${text}\n`);
    this.unfinished = false;
  }

  private formatted(source: string, text: string): string {
    const time = new Date().toISOString().slice(11, 23);
    const line = `${time} ${source.padEnd(6)} ${text}`;
    return this.coloured ? `${this.colourOf(source)}${line}${RESET}` : line;
  }

  private colourOf(source: string): string {
    const colour = this.colours.get(source) ?? COLOURS[this.colours.size % COLOURS.length]!;
    this.colours.set(source, colour);
    return colour;
  }
}
