// Replacing a checkpoint where the file system fails between its steps.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { FileError } from '../../src/errors.ts'
import { recoverCheckpoints, saveCheckpoint } from '../../src/train/checkpoint.ts'
import * as folders from '../../src/train/folders.ts'
import { FakeModel } from './fake-model.ts'

vi.mock('../../src/train/folders.ts', async (importActual) => {
  const actual = await importActual<typeof folders>()
  return { ...actual, removeFolder: vi.fn(actual.removeFolder), renameFolder: vi.fn(actual.renameFolder) }
})

let outputDir: string
let checkpoint: string
beforeEach(() => {
  outputDir = mkdtempSync(join(tmpdir(), 'bertkit-replace-'))
  checkpoint = join(outputDir, 'checkpoint-2')
  mkdirSync(checkpoint)
  writeFileSync(join(checkpoint, 'trainer_state.json'), 'old')
})
afterEach(() => {
  vi.clearAllMocks()
  rmSync(outputDir, { recursive: true, force: true })
})

const state = (): string => readFileSync(join(checkpoint, 'trainer_state.json'), 'utf8')

test('the old checkpoint comes back where the new one cannot take its name', async () => {
  const rename = vi.mocked(folders.renameFolder)
  const actual = rename.getMockImplementation()!
  rename.mockImplementationOnce(actual).mockRejectedValueOnce(new FileError('no second rename', 'EIO'))
  await expect(saveCheckpoint(checkpoint, { model: new FakeModel(), state: 'new' })).rejects.toThrow('no second rename')
  expect(readdirSync(outputDir)).toEqual(['checkpoint-2'])
  expect(state()).toBe('old')
})

test('a rest of the old checkpoint that cannot be removed fails nothing, now or at the next save', async () => {
  const remove = vi.mocked(folders.removeFolder)
  const actual = remove.getMockImplementation()!
  // The temporary, a rest of before, and last the one that was replaced.
  remove.mockImplementationOnce(actual).mockImplementationOnce(actual)
  remove.mockRejectedValueOnce(new FileError('cannot remove', 'EACCES'))
  await saveCheckpoint(checkpoint, { model: new FakeModel(), state: 'new' })
  expect(state()).toBe('new')
  expect(readdirSync(outputDir)).toEqual(['checkpoint-2', 'checkpoint-2.old'])
  await saveCheckpoint(checkpoint, { model: new FakeModel(), state: 'newer' })
  expect(state()).toBe('newer')
  await recoverCheckpoints(outputDir)
  expect(readdirSync(outputDir)).toEqual(['checkpoint-2'])
})
