import { createServer } from 'node:net';

/** The first port for HTTP is so far above the first one for gRPC: 8080 and 9090 by default. */
export const HTTP_OFFSET = 1_010;

/** Assigns ports: the requested port if it is free, otherwise the next free one. Never assigns a port twice. */
export class Ports {
  private readonly assigned = new Set<number>();

  async next(from: number): Promise<number> {
    for (let port = from; port < 65_536; port += 1) {
      if (this.assigned.has(port) || !(await isFree(port))) continue;
      this.assigned.add(port);
      return port;
    }
    throw new Error(`No port is free from ${from} upwards. Stop the processes that use them`);
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
      .once('error', () => resolve(false))
      .listen(port, () => server.close(() => resolve(true)));
  });
}
