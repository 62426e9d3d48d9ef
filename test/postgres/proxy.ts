import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** A TCP proxy in front of a server: a network that is slow, silent or cut when a test says so. */
export class Proxy {
  /** Delay of each packet in each direction, in milliseconds. */
  delayMs = 0;
  /** Connections that clients have opened so far. */
  accepted = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Settled unless the network is silent. */
  #passes = Promise.resolve();
  #heal = (): void => undefined;

  private constructor(public target: number) {
    this.#server = createServer({ allowHalfOpen: true }, (client) => {
      this.accepted += 1;
      const server = connect({ port: this.target, host: '127.0.0.1', allowHalfOpen: true });
      this.#relay(client, server);
      this.#relay(server, client);
    });
  }

  /** @param target port of the server; a later change applies to new connections. */
  static async start(target: number): Promise<Proxy> {
    const proxy = new Proxy(target);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  url(user = 'postgres'): string {
    return `postgres://${user}@127.0.0.1:${this.port}/postgres`;
  }

  /** Delivers nothing and keeps all connections open. `heal` delivers everything late, as TCP does. */
  silence(): void {
    this.heal();
    this.#passes = new Promise((resolve) => (this.#heal = resolve));
  }

  heal(): void {
    this.#heal();
  }

  /** Breaks all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.heal();
    this.cut();
    this.#server.close();
    await once(this.#server, 'close');
  }

  /** Forwards the bytes, and then the end. */
  #relay(from: Socket, to: Socket): void {
    let last = Promise.resolve();
    const later = (act: () => void) => {
      const at = performance.now() + this.delayMs;
      const before = last;
      last = (async () => {
        await before;
        const waitMs = at - performance.now();
        if (waitMs > 0) await sleep(waitMs);
        await this.#passes;
        act();
      })();
    };
    this.#sockets.add(from);
    from.setNoDelay();
    from.on('error', () => undefined);
    from.on('data', (chunk) => later(() => to.write(chunk)));
    from.once('end', () => later(() => to.end()));
    from.once('close', () => {
      this.#sockets.delete(from);
      later(() => to.destroy());
    });
  }
}
