#!/usr/bin/env node
// In the repository this is there before the build, so that npm can link the command in a fresh clone.
import '../dist/cli/main.js';
