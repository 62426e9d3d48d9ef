/**
 * For `instrument.instanceDecorator` of a Nest app: shortens the times of retention, which no option does. A version stays
 * for ten minutes otherwise. Without limits it changes nothing.
 */
export function withRetentionLimits(retentionLimits: object | undefined): (instance: unknown) => unknown {
  return (instance) => {
    const { kv } = (instance ?? {}) as { kv?: { retention?: unknown } };
    if (retentionLimits === undefined || kv?.retention === undefined) return instance;
    return { ...(instance as object), kv: { ...kv, retentionLimits } };
  };
}
