import { describe } from '@jest/globals';
import { itRunsTheTour } from './demo.js';

describe('npm run demo', () => itRunsTheTour('postgres', 22000));
