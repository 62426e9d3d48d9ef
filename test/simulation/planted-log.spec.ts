import { describe } from '@jest/globals';
import { PLANTED_EXPIRY } from './planted-expiry.js';
import { PLANTED_JOBS } from './planted-jobs.js';
import { PLANTED_LOG } from './planted-log.js';
import { itFindsEach } from './planted-suite.js';

describe('the simulation of the log and of jobs', () =>
  itFindsEach({ ...PLANTED_LOG, ...PLANTED_EXPIRY, ...PLANTED_JOBS }));
