// Without the optional package @huggingface/hub.
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test, vi } from 'vitest'
import { HubError } from '../../src/errors.ts'
import { snapshotOf } from '../../src/formats/hub.ts'
import { hubSettings } from '../../src/formats/hub-settings.ts'

vi.mock('@huggingface/hub', () => {
  throw Object.assign(new Error("Cannot find package '@huggingface/hub'"), { code: 'ERR_MODULE_NOT_FOUND' })
})

test('a download says how to install it, and a cached model does not need it', async () => {
  const home = fs.mkdtempSync(path.join(tmpdir(), 'bertkit-hub-'))
  const settings = await hubSettings({}, { HF_HOME: home, HF_ENDPOINT: 'http://127.0.0.1:1' })
  const error: unknown = await snapshotOf('org/tiny', 'config', settings).catch((thrown) => thrown)
  expect(error).toBeInstanceOf(HubError)
  expect(error).toMatchObject({ code: 'ERR_HUB', reason: 'no-package' })
  expect(String(error)).toMatch(/"org\/tiny".*npm install @huggingface\/hub/)
  const commit = 'a'.repeat(40)
  const model = path.join(home, 'hub/models--org--tiny')
  fs.mkdirSync(path.join(model, 'snapshots', commit), { recursive: true })
  fs.mkdirSync(path.join(model, 'refs'))
  fs.writeFileSync(path.join(model, 'refs/main'), commit)
  fs.writeFileSync(path.join(model, 'snapshots', commit, 'config.json'), '{}')
  expect(await snapshotOf('org/tiny', 'config', settings)).toBe(path.join(model, 'snapshots', commit))
  fs.rmSync(home, { recursive: true })
})
