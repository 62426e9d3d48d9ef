import { Client, credentials } from '@grpc/grpc-js';
import { answer } from './child.js';
import type { LoadShape } from './load.js';
import { LoopWatch } from './loop-delay.js';
import { RAW_STREAMS } from './raw-streams.js';
import type { Round } from './statistics.js';

const { path, requestSerialize, responseDeserialize } = RAW_STREAMS.count;

/** Receives bulk data for some seconds, with the same window as a Hedge caller. */
async function take({ seconds, port }: LoadShape & { port: number }): Promise<Round> {
  const options = {
    'grpc.max_receive_message_length': -1,
    'grpc.enable_channelz': 0,
    'grpc-node.flow_control_window': 1024 * 1024,
  };
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), options);
  const watch = new LoopWatch();
  await watch.time(async () => {
    const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
    const ends = performance.now() + seconds * 1_000;
    let taken = 0;
    for await (const _ of call) {
      taken += 1;
      if (performance.now() >= ends) break;
    }
    return taken;
  });
  client.close();
  return watch.round();
}

const commands = { take };
export type BulkClientCommands = typeof commands;
answer(commands);
