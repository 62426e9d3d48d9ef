import { createServer } from 'node:net';

/** Hands out ports: the asked one if it is free, else the next free one; never the same twice. */
export class Ports {
  private readonly taken = new Set<number>();

  async next(from: number): Promise<number> {
    for (let port = from; port < 65_536; port += 1) {
      if (this.taken.has(port) || !(await isFree(port))) continue;
      this.taken.add(port);
      return port;
    }
    throw new Error(`No port from ${from} up is free`);
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
      .once('error', () => resolve(false))
      .listen(port, () => server.close(() => resolve(true)));
  });
}
