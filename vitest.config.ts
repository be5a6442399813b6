import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 120_000,
    fileParallelism: false,
    pool: 'forks',
    // what an entry of the package does, for tests that import what is below it
    setupFiles: ['src/platform-node.ts'],
    // the name of a folder that is not there may be the name of a model: no test asks for it by accident
    env: { HF_HUB_OFFLINE: '1' },
  },
})
