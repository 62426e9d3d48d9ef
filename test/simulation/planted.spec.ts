import { describe } from '@jest/globals';
import { PLANTED } from './planted.js';
import { itFindsEach } from './planted-suite.js';

describe('the simulation of whole clusters', () => itFindsEach(PLANTED));
