/** Frames with a value in each field that version 0.1 knew. */
export const FRAMES = [
  {
    $case: 'hello',
    value: {
      protocol: 1,
      group: 'orders',
      address: '10.0.0.1:7400',
      incarnation: 'caller-1',
      nonce: Buffer.alloc(32, 1),
      generation: 3,
      receiver: 'receiver-1',
    },
  },
  {
    $case: 'challenge',
    value: {
      address: '10.0.0.2:7400',
      incarnation: 'receiver-1',
      nonce: Buffer.alloc(32, 2),
      proof: Buffer.alloc(32, 3),
    },
  },
  { $case: 'proof', value: { proof: Buffer.alloc(32, 4), outstanding: [1, 2, 3] } },
  { $case: 'welcome', value: { resumed: true } },
  { $case: 'refusal', value: { code: 'UNAUTHENTICATED', message: 'no' } },
  {
    $case: 'request',
    value: {
      sequence: 7,
      kind: 1,
      topic: 'price',
      encoding: 2,
      payload: Buffer.from('{"qty":2}'),
      timeoutMs: 9_000,
      attempt: 2,
      id: 'a-request',
      epoch: 1_700_000_000_000_000_000n,
    },
  },
  {
    $case: 'reply',
    value: {
      sequence: 7,
      encoding: 0,
      payload: Buffer.alloc(0),
      failure: {
        code: 'NOT_LEADER',
        message: 'ask another',
        details: '{"a":1}',
        retryable: true,
        leader: { address: '10.0.0.3:7400', incarnation: 'other', epoch: 5n },
      },
    },
  },
  { $case: 'cancel', value: { sequence: 7 } },
  { $case: 'heartbeat', value: { epoch: 5n, version: 6, spill: { memory: 1_024, disk: 2_048 } } },
  {
    $case: 'view',
    value: {
      epoch: 5n,
      version: 6,
      settled: true,
      leader: { address: '10.0.0.3:7400', incarnation: 'other', confirmed: true, spill: undefined },
      members: [{ address: '10.0.0.3:7400', incarnation: 'other', confirmed: true, spill: { memory: 1, disk: 2 } }],
    },
  },
  { $case: 'leave', value: {} },
  { $case: 'leaderReleased', value: { epoch: 5n } },
  { $case: 'lockReleased', value: { name: 'reports', token: 9n, relayed: true } },
] as const;
