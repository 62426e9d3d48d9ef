const COLOURS = ['\u001B[36m', '\u001B[33m', '\u001B[35m', '\u001B[32m', '\u001B[34m'];
const RESET = '\u001B[0m';

/** The runner's output: one line per event, each source in its colour where the terminal has colours. */
export class Console {
  private readonly colours = new Map<string, string>();

  constructor(
    private readonly out: NodeJS.WriteStream = process.stdout,
    private readonly coloured = out.isTTY && process.env['NO_COLOR'] === undefined,
  ) {}

  /** What a pod did. */
  event(source: string, text: string): void {
    const time = new Date().toISOString().slice(11, 23);
    const line = `${time} ${source.padEnd(6)} ${text}`;
    this.line(this.coloured ? `${this.colourOf(source)}${line}${RESET}` : line);
  }

  /** What the runner says. */
  line(text = ''): void {
    this.out.write(`${text}\n`);
  }

  private colourOf(source: string): string {
    const colour = this.colours.get(source) ?? COLOURS[this.colours.size % COLOURS.length]!;
    this.colours.set(source, colour);
    return colour;
  }
}
