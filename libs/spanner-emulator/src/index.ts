export { startSpannerEmulator, type Counters, type SpannerEmulator, type SpannerEmulatorOptions } from './emulator.js';
export { Faults, type FaultOptions, type FaultRule } from './faults.js';
export { SpannerError, type CodeName, type CodeNumber, type ErrorDetail } from './common/status.js';
