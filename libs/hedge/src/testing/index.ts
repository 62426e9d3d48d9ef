export { backendConformance, type BackendConformance, type TestRunner } from './conformance/index.js';
export { VirtualClock } from './virtual-clock.js';
export { BackendFaults, faulty, type BackendCall, type BackendFault } from './faults.js';
