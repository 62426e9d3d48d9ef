import { Injectable } from '@nestjs/common';
import { type Leadership, LeaderService, OnLeaderChange, WhileLeader } from 'nestjs-hedge';

declare function nextBatch(signal: AbortSignal): Promise<string[]>;
declare function writeRow(row: string, fencingToken: bigint): Promise<void>;

// #region reconcile
@Injectable()
export class ReconcileService {
  constructor(private readonly leader: LeaderService) {}

  @WhileLeader() // runs when this pod is elected; the signal aborts when it no longer leads
  async reconcile({ signal, fencingToken }: Leadership) {
    while (!signal.aborted) {
      for (const row of await nextBatch(signal)) await writeRow(row, fencingToken);
    }
  }

  @OnLeaderChange()
  leaderChanged() {
    console.log('leader is', this.leader.leader()?.address ?? 'not known');
  }

  sweep() {
    if (!this.leader.isLeader()) return; // local, costs nothing
    // …
  }
}
// #endregion
