export { backendConformance, type BackendConformance, type TestRunner } from './conformance/index.js';
export { VirtualClock } from './virtual-clock.js';
