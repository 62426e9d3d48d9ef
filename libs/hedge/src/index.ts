/**
 * The module, its options, the services, the decorators and the errors.
 *
 * @packageDocumentation
 */
export type { Backend, BackendContext, BackendFactory, DatabaseFacts, WorkerBackend } from './database/backend.js';
export type { FencedTransactions } from './database/fenced-transactions.js';
export type { TransactionOf } from './database/sql-transactions/index.js';
export type { PermitFence, UserTransactions } from './database/user-transactions.js';
export type { Broadcast, BroadcastResult } from './membership/broadcast.js';
export {
  ClusterService,
  type BroadcastOptions,
  type BroadcastStreamOptions,
  type ClusterView,
} from './membership/cluster.service.js';
export type { ViewMember } from './membership/view.js';
export { HedgeError, type HedgeErrorCode } from './common/errors.js';
export type { MemberId } from './common/identity.js';
export { TIMING_PRESETS, type Timing, type TimingPreset } from './common/timing.js';
export { InspectionService, type InspectionOptions } from './inspection/inspection.service.js';
export type {
  EventLoopState,
  HandledKind,
  HandledState,
  HandledTopics,
  HeldLeaseState,
  HeldSpill,
  LeaderState,
  LinkState,
  LockState,
  PodHealth,
  PodProcess,
  PodState,
  SpillState,
  TierState,
  TopicFigures,
  ViewState,
} from './inspection/pod-state.js';
export type { JobOptions, JobRun, TransactionalJobRun } from './jobs/job.js';
export {
  JobsService,
  type JobCallOptions,
  type JobChangeOptions,
  type JobHistoryOptions,
  type JobListOptions,
  type JobRunOptions,
  type JobStatus,
} from './jobs/jobs.service.js';
export type { JobEntry, JobEvent, RunRequest } from './jobs/ledger.js';
export type { JobDefinition } from './jobs/registry/job-definition.js';
export type { KvCursor, KvEntry, KvVersion } from './kv/kv-entry.js';
export type { KvCache } from './kv/watch/kv-cache.js';
export type { KvWatch } from './kv/watch/kv-watch.js';
export {
  KvStore,
  type KvDeleteOptions,
  type KvGetOptions,
  type KvHistoryOptions,
  type KvKeysOptions,
  type KvPutOptions,
  type KvTransactionOptions,
  type KvWatchOptions,
} from './kv/kv.store.js';
export type { KvCondition, KvOperation } from './kv/kv-transaction.js';
export { LeaderService, type ResignationOptions, type SendOptions } from './election/leader.service.js';
export type { Leadership, LeaderTask } from './election/leadership.js';
export type { TriedUse } from './common/held.js';
export type { Lock } from './locks/lock.js';
export {
  LockService,
  type ListedLock,
  type LockHolder,
  type LockListOptions,
  type LockOptions,
} from './locks/lock.service.js';
export { WithLock, type WithLockOptions } from './nest/decorators/with-lock.js';
export type { Serializer } from './messaging/serializer.js';
export type { HedgeTopics } from './messaging/topics.js';
export { HedgeContext } from './nest/handlers/context.js';
export {
  OnBroadcast,
  OnBroadcastStream,
  OnLeaderChange,
  OnLeaderMessage,
  OnLeaderStream,
  OnMembersChange,
  WhileLeader,
} from './nest/decorators/decorators.js';
export { HedgeExceptionFilter } from './nest/handlers/handler-failure.js';
export { HedgeHttpFilter, toHttpException } from './nest/http-filter.js';
export type { HedgeAsyncExtras, HedgeModuleExtras } from './nest/core.module.js';
export { HedgeModule, type HedgeAsyncOptions } from './nest/hedge.module.js';
export { LeaderCron, LeaderInterval, LeaderJob, type LeaderCronOptions } from './nest/decorators/job-decorators.js';
export { LeaderOnly, type LeaderOnlyOptions } from './nest/decorators/leader-only.js';
export type {
  HandlerEnhancers,
  HedgeLimits,
  HedgeOptions,
  HedgeOptionsFactory,
  HedgePreferNewest,
  HedgeShutdown,
  HedgeKv,
  HedgeMetrics,
  HedgeSpill,
  HedgeTiming,
  KvRetention,
} from './nest/options.js';
export type { HedgeMode } from './pod/settings.js';
export { HedgeReadiness, type HedgeHealth } from './pod/readiness.js';
export type { StallFigures } from './pod/stall-monitor.js';
export { HedgeStrategy } from './nest/handlers/strategy.js';
export type { Permit } from './semaphores/client/permit.js';
export type { AcquireOptions, Semaphore, SemaphoreHolder } from './semaphores/client/semaphore.js';
export type { SemaphoreUse } from './semaphores/server/semaphore-server.runner.js';
export { SemaphoreService, type SemaphoreOptions } from './semaphores/semaphore.service.js';
export type { BroadcastStreamEvent } from './streams/member-stream.js';
export type { StreamSource } from './streams/source.js';
export type { StreamOptions } from './streams/stream-options.js';
export type { HedgeStreamTopics } from './streams/stream-topics.js';
export type { MemberShare as SpillShare } from './spill/placement/frame-index.js';
export type { SpillRecord } from './spill/records/frame-builder.js';
export type { RecordRange as SpillRange } from './spill/service/frame-reader.js';
export type { Size, SpillCreateOptions } from './spill/service/spill-create-options.js';
export type { SpilledData, SpilledDataManifest, SpilledDataStats } from './spill/service/spilled-data.js';
export { SpillStore } from './spill/service/spill.store.js';
export type { SpillWriter } from './spill/service/spill-writer.js';
export type { TlsOptions } from './transport/grpc/credentials.js';
