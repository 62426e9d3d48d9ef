/**
 * Utilities for tests of applications and of drivers: a module without network, a virtual clock, faults, the
 * conformance suite.
 *
 * @packageDocumentation
 */
export {
  backendConformance,
  type BackendConformance,
  type ConformanceApplication,
  type TestRunner,
} from './conformance/index.js';
export { VirtualClock } from './virtual-clock.js';
export { BackendFaults, faulty, type BackendCall, type BackendFault } from './faults.js';
export { HedgeTestingModule, type HedgeTestingOptions } from './hedge-testing.module.js';
export { MemoryNetwork, type FrameInFlight, type MemoryNetworkOptions } from './memory-transport.js';
