import { fillConnections, sql } from '../postgres/target.js';
import type { World } from './world.js';

export interface Fault {
  /** @returns a function that ends it. */
  inject(world: World): Promise<() => void | Promise<void>>;
  /** Whether no pod can lead while it lasts. Otherwise some pod may. */
  readonly endsLeadership?: true;
}

const SET_READ_ONLY = ['ALTER SYSTEM SET default_transaction_read_only = on', 'SELECT pg_reload_conf()'];
const RESET_READ_ONLY = [
  'SET default_transaction_read_only = off',
  'ALTER SYSTEM RESET default_transaction_read_only',
  'SELECT pg_reload_conf()',
];

/** By the name that reports show. */
export const FAULTS: Readonly<Record<string, Fault>> = {
  'the server is killed': {
    endsLeadership: true,
    inject: async ({ server }) => {
      await server.kill();
      return () => server.start();
    },
  },
  'the server is shut down immediately, and restarted': {
    inject: async ({ server }) => {
      await server.kill('SIGQUIT');
      await server.start();
      return () => undefined;
    },
  },
  'the server stands still': {
    endsLeadership: true,
    inject: async ({ server }) => {
      server.pause();
      return () => server.resume();
    },
  },
  'one session of the leader stands still': {
    inject: async (world) => {
      const leader = await world.leader();
      const [pid] = leader === undefined ? [] : await world.sessionsOf(leader);
      if (pid === undefined) return () => undefined;
      process.kill(pid, 'SIGSTOP');
      return () => void process.kill(pid, 'SIGCONT');
    },
  },
  'the server ends all sessions': {
    inject: async (world) => {
      const names = world.members.map(({ application }) => `'${application}'`).join();
      const select = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name IN (${names})`;
      await sql(world.server.url(), select);
      return () => undefined;
    },
  },
  'the server reads only': {
    endsLeadership: true,
    inject: async ({ server }) => {
      await sql(server.url(), ...SET_READ_ONLY);
      return async () => void (await sql(server.url(), ...RESET_READ_ONLY));
    },
  },
  'all connections of the server are in use': {
    inject: ({ server }) => fillConnections(server.url()),
  },
  'PgBouncer is killed': {
    inject: async ({ bouncer }) => {
      await bouncer?.kill();
      return () => bouncer?.start();
    },
  },
  'the network of the leader is silent': {
    inject: async (world) => {
      const proxy = (await world.leader())?.proxy;
      proxy?.silence();
      return () => proxy?.heal();
    },
  },
  'the network is silent': {
    endsLeadership: true,
    inject: async ({ members }) => {
      for (const { proxy } of members) proxy.silence();
      return () => {
        for (const { proxy } of members) proxy.heal();
      };
    },
  },
  'the network breaks': {
    inject: async ({ members }) => {
      for (const { proxy } of members) proxy.cut();
      return () => undefined;
    },
  },
  'an answer takes 500 ms': {
    inject: async ({ members }) => {
      for (const { proxy } of members) proxy.delayMs = 250;
      return () => {
        for (const { proxy } of members) proxy.delayMs = 0;
      };
    },
  },
  'the application uses its whole pool': {
    inject: async ({ pods }) => {
      await Promise.all(pods.map((pod) => pod.call('occupyPool', true)));
      return async () => {
        await Promise.all(pods.map((pod) => pod.call('occupyPool', false)));
      };
    },
  },
};
