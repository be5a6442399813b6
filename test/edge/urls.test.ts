// Loading from URLs, and what a server may do wrong.
import * as fs from 'node:fs/promises'
import * as path from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import {
  AbortedError,
  ArgumentError,
  BertConfig,
  BertLMHeadModel,
  BertModel,
  BertTokenizer,
  DownloadError,
  pipeline,
  WeightsError,
} from '../../src/edge.ts'
import { registerPlatform } from '../../src/platform.ts'
import { nodePlatform } from '../../src/platform-node.ts'
import { tinyConfig } from '../session/tiny.ts'
import { expectSame, failure, load, serve, server, sharded, useModelServer, whole } from './model-server.ts'
import { FileServer, testPlatform } from './web.ts'

useModelServer()

describe('the URL of a folder', () => {
  it.each(['', '/'])('loads model and tokenizer, written with %j at its end', async (end) => {
    serve(whole)
    using model = await load(`${server.url}/model${end}`)
    await expectSame(model)
    expect(model.training).toBe(false)
    const tokenizer = await BertTokenizer.fromPretrained(new URL(`${server.url}/model${end}`))
    expect(tokenizer.encode('a b').inputIds).toEqual([2, 5, 6, 3])
    expect(server.requests.filter((url) => url.endsWith('/config.json'))).toEqual(['/model/config.json'])
  })

  it('says how a decoder generates, if it does, to who generates', async () => {
    registerPlatform(nodePlatform)
    using writer = new BertLMHeadModel(tinyConfig({ isDecoder: true, eosTokenId: 7 }))
    const blobs = Object.entries(await writer.savePretrained())
    serve(Object.fromEntries(await Promise.all(blobs.map(async ([name, blob]) => [name, await blob.bytes()]))))
    registerPlatform(testPlatform)
    const asked = () => server.requests.filter((url) => url.endsWith('/generation_config.json')).length
    server.files.set('model/generation_config.json', new TextEncoder().encode('{"max_new_tokens": 2}'))
    using model = await BertLMHeadModel.fromPretrained(`${server.url}/model`)
    expect(model.generationConfig).toMatchObject({ maxNewTokens: 2, eosTokenId: null })
    expect(model.generationConfig.where).toBe(`${server.url}/model/generation_config.json`)
    expect(asked()).toBe(1)
    server.files.delete('model/generation_config.json')
    using other = await BertLMHeadModel.fromPretrained(`${server.url}/model`)
    expect(other.generationConfig).toMatchObject({ maxNewTokens: null, eosTokenId: 7 })
    using base = await BertModel.fromPretrained(`${server.url}/model`)
    expect(base.config.eosTokenId).toBe(7)
    expect(asked()).toBe(2)
  })

  it('takes its query to every file, and errors leave it out', async () => {
    serve(whole)
    server.files.delete('model/model.safetensors')
    const error = await failure(load(`${server.url}/model?key=secret`))
    expect(server.requests[0]).toBe('/model/config.json?key=secret')
    expect(error).toBeInstanceOf(WeightsError)
    expect(error.message).toContain(`${server.url}/model/: found no weights`)
    expect(error.message).not.toContain('secret')
  })

  it('is relative to the page', async () => {
    serve(whole)
    vi.stubGlobal('location', { href: `${server.url}/pages/index.html` })
    for (const source of ['../model', '/model', './../model/'])
      expect((await BertConfig.fromPretrained(source)).numLabels).toBe(3)
  })

  it.each([
    ['blob:https://page/1', /one file/],
    ['./model', /a relative one needs a page/],
    ['not an id!', /Expected a Hub id, or a URL/],
    ['ftp:x', /Expected a Hub id, or a URL/],
  ])('cannot be %s', async (source, message) => {
    const error = await failure(BertConfig.fromPretrained(source))
    expect(error).toBeInstanceOf(ArgumentError)
    expect(error.message).toMatch(message)
  })

  it('loads shards one after another, with one connection at a time', async () => {
    serve(sharded)
    const shards = Object.keys(sharded).filter((name) => name.endsWith('.safetensors'))
    expect(shards.length).toBeGreaterThan(7)
    server.answers.set('model/model.safetensors', (response) => response.writeHead(403).end())
    for (const shard of shards)
      server.answers.set(`model/${shard}`, (response, bytes) => {
        response.write(bytes.subarray(0, -1))
        setTimeout(() => response.end(bytes.subarray(-1)), 200)
      })
    using model = await load(`${server.url}/model`)
    await expectSame(model)
    expect(server.most).toBeLessThan(4)
  })

  it('reports the progress of each file', async () => {
    serve(whole)
    const seen = new Map<string, number>()
    const onDownload = vi.fn(({ file, received }) => void seen.set(file, received))
    using model = await load(`${server.url}/model`, { onDownload })
    expect(model.loadReport?.missing).toEqual([])
    const size = whole['model.safetensors'].length
    expect(onDownload).toHaveBeenCalledWith({ file: 'model.safetensors', received: 0, size })
    expect(seen.get('model.safetensors')).toBe(size)
  })

  it('reads pytorch_model.bin, for which it keeps the file in a Blob', async () => {
    const fixtures = path.join(import.meta.dirname, '..', 'formats', 'fixtures')
    const bin = new Uint8Array(await fs.readFile(path.join(fixtures, 'values.bin')))
    server.files.set('model/pytorch_model.bin', bin)
    server.files.set('model/config.json', whole['config.json'])
    await expect(load(`${server.url}/model`)).rejects.toThrow(/found none of them; there are 4 others, such as "a" and/)
  })
})

describe('what a server may do wrong', () => {
  const weights = 'model/model.safetensors'
  const cases: [string, string, Parameters<typeof server.answers.set>[1], Partial<DownloadError>, RegExp][] = [
    [
      '404',
      'model/config.json',
      (response) => response.writeHead(404).end(),
      { reason: 'not-found', status: 404 },
      /404/,
    ],
    [
      '403',
      'model/config.json',
      (response) => response.writeHead(403).end(),
      { reason: 'forbidden', status: 403 },
      /403/,
    ],
    ['500', 'model/config.json', (response) => response.writeHead(500).end(), { reason: 'server', status: 500 }, /500/],
    [
      'a page of that type',
      'model/config.json',
      (response) => response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end('<p>hello'),
      { reason: 'invalid', status: 200 },
      /an HTML page instead of the file/,
    ],
    [
      'a page of another type',
      weights,
      (response) =>
        response.writeHead(200, { 'content-type': 'application/octet-stream' }).end('\n<!DOCTYPE html>\n<html>'),
      { reason: 'invalid' },
      /an HTML page instead of the file/,
    ],
    [
      'a connection that breaks',
      weights,
      (response, bytes) => {
        response.writeHead(200, { 'content-length': bytes.length })
        response.write(bytes.subarray(0, bytes.length / 2), () => response.destroy())
      },
      { reason: 'unreachable' },
      /the connection failed/,
    ],
    [
      'a connection on which nothing comes',
      weights,
      (response, bytes) => {
        response.writeHead(200, { 'content-length': bytes.length })
        response.write(bytes.subarray(0, bytes.length / 2))
      },
      { reason: 'unreachable' },
      /nothing came for 0.2 s/,
    ],
    ['no answer', 'model/config.json', () => {}, { reason: 'unreachable' }, /nothing came for 0.2 s/],
  ]
  it.each(cases)('%s', async (_, name, answer, fields, message) => {
    serve(whole)
    server.answers.set(name, answer)
    const error = await failure(load(`${server.url}/model`, { downloadTimeout: 200 }))
    expect(error).toBeInstanceOf(DownloadError)
    expect(error).toMatchObject({ code: 'ERR_DOWNLOAD', url: `${server.url}/${name}`, ...fields })
    expect(error.message).toMatch(message)
    expect(error.message).toContain(`${server.url}/${name}`)
  })

  it('a body that ends early without a length is a truncated file', async () => {
    serve(whole)
    server.answers.set(weights, (response, bytes) => {
      response.write(bytes.subarray(0, bytes.length - 10))
      response.end()
    })
    const error = await failure(load(`${server.url}/model`))
    expect(error).toBeInstanceOf(WeightsError)
    expect(error.message).toMatch(/the file ends after/)
    expect(error.message).toContain(`${server.url}/${weights}`)
  })

  it('pages and refusals for files that it does not need do not matter', async () => {
    serve(whole)
    const page = Buffer.from('<!doctype html><title>a page for every path</title>')
    for (const name of ['modules.json', 'special_tokens_map.json', 'tokenizer.json'])
      server.answers.set(`model/${name}`, (response) =>
        response.writeHead(200, { 'content-type': 'text/html' }).end(page),
      )
    server.answers.set('model/tokenizer_config.json', (response) => response.writeHead(403).end())
    using classify = await pipeline('text-classification', `${server.url}/model`)
    expect(await classify('a b')).toHaveLength(1)
  })

  it('a slow server is waited for', async () => {
    serve(whole)
    server.answers.set(weights, async (response, bytes) => {
      for (let at = 0; at < bytes.length; at += 2000) {
        response.write(bytes.subarray(at, at + 2000))
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
      response.end()
    })
    using model = await load(`${server.url}/model`, { downloadTimeout: 5000 })
    await expectSame(model)
  })

  it('no server at all', async () => {
    const other = new FileServer()
    await other.listen()
    const { url } = other
    await other.close()
    const error = await failure(load(`${url}/model`))
    expect(error).toMatchObject({ reason: 'unreachable', url: `${url}/model/config.json` })
    expect(error.message).toMatch(/ECONNREFUSED/)
  })

  it.each(['before', 'during the headers', 'during the body'])('a signal aborts the load %s', async (when) => {
    serve(whole)
    const controller = new AbortController()
    server.answers.set(weights, (response, bytes) => {
      if (when === 'during the body') {
        response.writeHead(200, { 'content-length': bytes.length })
        response.write(bytes.subarray(0, bytes.length / 2))
      }
      setTimeout(() => controller.abort('enough'), 50)
    })
    if (when === 'before') controller.abort('enough')
    const error = await failure(load(`${server.url}/model`, { signal: controller.signal }))
    expect(error).toBeInstanceOf(AbortedError)
    expect(error.cause).toBe('enough')
    await vi.waitFor(() => expect(server.abandoned).toBe(when === 'before' ? 0 : 1))
  })
})
