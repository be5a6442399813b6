import os from 'node:os'
import { configDefaults, defineConfig } from 'vitest/config'

/** What looks at how long the event loop waits: nothing else runs beside it. */
const alone = ['test/lifecycle/**/*.test.ts']

export default defineConfig({
  test: {
    // the slowest, a part of CUDA's emulation, takes a minute on a core of 2017
    testTimeout: 300_000,
    hookTimeout: 60_000,
    pool: 'forks',
    // what an entry of the package does, for tests that import what is below it
    setupFiles: ['src/platform-node.ts'],
    // the name of a folder that is not there may be the name of a model: no test asks for it by accident
    env: { HF_HUB_OFFLINE: '1' },
    projects: [
      {
        extends: true,
        test: {
          name: 'side by side',
          include: ['test/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...alone],
          // many files take one core for most of their time; a file's own threads share the cores with those of the next
          maxWorkers: Math.max(2, Math.floor(os.availableParallelism() / 2)),
          sequence: { groupOrder: 0 },
        },
      },
      { extends: true, test: { name: 'alone', include: alone, fileParallelism: false, sequence: { groupOrder: 1 } } },
    ],
  },
})
