const COLOURS = ['\u001B[36m', '\u001B[33m', '\u001B[35m', '\u001B[32m', '\u001B[34m'];
const RESET = '\u001B[0m';
/** To the beginning of the line, and clears it. */
const OVER = '\r\u001B[2K';

/** The runner's output: one line per event, each source in its colour where the terminal has colours. */
export class Console {
  private readonly colours = new Map<string, string>();
  /** The last line is one of progress, which the next may take the place of. */
  private unfinished = false;

  constructor(
    private readonly out: NodeJS.WriteStream = process.stdout,
    private readonly coloured = out.isTTY && process.env['NO_COLOR'] === undefined,
  ) {}

  /** What a pod did. */
  event(source: string, text: string): void {
    this.line(this.formatted(source, text));
  }

  /** How far a pod is: on a terminal, in the place of what it said of that before. */
  progress(source: string, text: string): void {
    if (!this.out.isTTY) return this.event(source, text);
    this.out.write(`${this.unfinished ? OVER : ''}${this.formatted(source, text)}`);
    this.unfinished = true;
  }

  /** What the runner says. */
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
