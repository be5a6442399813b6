// Which names are ids of the Hub, what the environment says, and what a cache alone can answer.
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { ArgumentError, FileError } from '../../src/errors.ts'
import { resolveModelFolder } from '../../src/formats/hub.ts'
import { type HubOptions, isHubId } from '../../src/formats/hub-options.ts'
import { hubSettings } from '../../src/formats/hub-settings.ts'
import { COMMIT, FILES, FOLDER, get, home, hub, ID, inCache, NEWER, refuses, snapshot, WEIGHTS } from './hub-fixture.ts'

describe('names', () => {
  test.each(['bert-base-uncased', 'org/name', 'a', 'Foo-BAR_foo.bar123', 'google/bert_uncased_L-2_H-128_A-2', '123'])(
    '%s is a Hub id',
    (name) => expect(isHubId(name)).toBe(true),
  )
  test.each([
    './no-such',
    '../x',
    '.',
    '..',
    '',
    '/abs/olute',
    'a/b/c',
    'org/name/',
    'org//name',
    '~/model',
    'C:\\models\\x',
    'C:/x',
    'foo--bar',
    'a..b',
    'foo.git',
    '.hidden',
    '-x',
    'x-',
    'x.',
    'org/.x',
    'ünïcode/x',
    'a b',
    'a\nb',
    'a\n',
    'x'.repeat(97),
    'https://huggingface.co/a',
    'a\0b',
  ])('%j is not', (name) => expect(isHubId(name)).toBe(false))

  test('what is not an id, and what is there, is a folder without any network', async () => {
    vi.stubEnv('HF_ENDPOINT', hub.endpoint)
    vi.stubEnv('HF_HUB_OFFLINE', '')
    for (const name of ['./no-such', '/no/such', 'a/b/c', 'org/name/', 'test', 'test/formats', 'package.json'])
      expect(await resolveModelFolder(name, 'model')).toBe(name)
    expect(hub.seen).toEqual([])
  })

  test('wrong arguments are ArgumentErrors and never show a token', async () => {
    const wrong: [unknown, unknown][] = [
      [7, {}],
      [ID, 'main'],
      [ID, null],
      [ID, { revison: 'main' }],
      [ID, { downloadTimeout: 0 }],
      [ID, { signal: 'now' }],
      ...['../x', '', 'a..b', '/a', 'a//b', 'a/', 'a/.x', 'a\\b', 'x'.repeat(201), 'a b', 'a:b'].map(
        (revision): [unknown, unknown] => [ID, { revision }],
      ),
    ]
    for (const [name, options] of wrong)
      await expect(resolveModelFolder(name as string, 'model', options as HubOptions)).rejects.toThrow(ArgumentError)
    const error: unknown = await resolveModelFolder(ID, 'model', { token: ['hf_secret'] as never }).catch((e) => e)
    expect(String(error)).toContain('token')
    expect(String(error)).not.toContain('hf_secret')
    await expect(hubSettings({ token: 'hf_a\u00e9b' }, {})).rejects.toThrow(ArgumentError)
    expect(hub.seen).toEqual([])
  })
})

describe('the environment', () => {
  const settings = (env: Record<string, string>, options: HubOptions = {}) => hubSettings(options, env)
  const homeFolder = process.env.HOME ?? ''

  test('names the cache as for huggingface_hub', async () => {
    const cases: [Record<string, string>, string][] = [
      [{}, path.join(homeFolder, '.cache/huggingface/hub')],
      [{ XDG_CACHE_HOME: '/x' }, '/x/huggingface/hub'],
      [{ HF_HOME: '/h', XDG_CACHE_HOME: '/x' }, '/h/hub'],
      [{ HF_HOME: '~/h' }, path.join(homeFolder, 'h/hub')],
      [{ HF_HOME: '$PLACE/h', PLACE: '/p' }, '/p/h/hub'],
      [{ HUGGINGFACE_HUB_CACHE: '/old', HF_HOME: '/h' }, '/old'],
      [{ HF_HUB_CACHE: '/new', HUGGINGFACE_HUB_CACHE: '/old' }, '/new'],
    ]
    for (const [env, expected] of cases) expect((await settings(env)).cacheDir).toBe(expected)
    expect((await settings({ HF_HUB_CACHE: '/new' }, { cacheDir: '/mine' })).cacheDir).toBe('/mine')
  })

  test('takes the token from the option, HF_TOKEN or the file, in this order', async () => {
    fs.writeFileSync(path.join(home, 'token'), 'hf_file\n')
    const env = { HF_HOME: home }
    expect((await settings(env)).token).toBe('hf_file')
    expect((await settings({ ...env, HF_TOKEN: ' hf_env\r\n' })).token).toBe('hf_env')
    expect((await settings({ ...env, HF_TOKEN: 'hf_env' }, { token: 'hf_option' })).token).toBe('hf_option')
    expect((await settings({ ...env, HF_TOKEN: 'hf_env' }, { token: false })).token).toBeUndefined()
    for (const HF_TOKEN of ['', ' \n']) expect((await settings({ ...env, HF_TOKEN })).token).toBe('hf_file')
    const old = { ...env, HUGGING_FACE_HUB_TOKEN: 'hf_old' }
    expect((await settings({ ...old, HF_TOKEN: '' })).token).toBe('hf_old')
    expect((await settings({ ...old, HF_TOKEN: 'hf_env' })).token).toBe('hf_env')
    const explicit = { ...old, HF_TOKEN: 'hf_env', HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' }
    expect((await settings({ ...env, HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' })).token).toBeUndefined()
    expect((await settings(explicit)).token).toBeUndefined()
    expect((await settings({ ...explicit, HF_TOKEN: '' })).token).toBeUndefined()
    expect((await settings(explicit, { token: 'hf_option' })).token).toBe('hf_option')
    expect((await settings({ HF_HOME: '/no/such' })).token).toBeUndefined()
    fs.writeFileSync(path.join(home, 'elsewhere'), 'hf_other')
    expect((await settings({ ...env, HF_TOKEN_PATH: path.join(home, 'elsewhere') })).token).toBe('hf_other')
  })

  test('may name another endpoint, but over the network only with https', async () => {
    expect((await settings({})).endpoint).toBe('https://huggingface.co')
    expect((await settings({ HF_ENDPOINT: 'https://mirror.example/hf//' })).endpoint).toBe('https://mirror.example/hf')
    expect((await settings({ HF_ENDPOINT: 'http://localhost:8080' })).endpoint).toBe('http://localhost:8080')
    for (const endpoint of [
      'http://mirror.example',
      'ftp://x',
      'mirror',
      'https://a:b@x',
      'http://127.0.0.1.x',
      'file:///x',
    ])
      await expect(settings({ HF_ENDPOINT: endpoint })).rejects.toThrow(ArgumentError)
  })
})

describe('a cache that AutoModel of Python filled', () => {
  const { 'config.json': config, 'pytorch_model.bin': bin } = FILES
  const fill = (
    files: Record<string, Uint8Array | string> = { 'config.json': config, 'model.safetensors': WEIGHTS },
  ) => {
    fs.mkdirSync(inCache('refs'), { recursive: true })
    fs.writeFileSync(inCache('refs/main'), COMMIT)
    fs.mkdirSync(snapshot('1_Pooling'), { recursive: true })
    for (const [name, content] of Object.entries(files)) fs.writeFileSync(snapshot(name), content)
  }
  const asked = () => hub.requests().filter((request) => !request.startsWith('GET /api/'))

  test('gets how vectors are pooled, once, and no weights', async () => {
    fill()
    expect(await get('model')).toBe(snapshot())
    for (const name of ['modules.json', '1_Pooling/config.json'] as const)
      expect(fs.readFileSync(snapshot(name), 'utf8')).toBe(FILES[name])
    expect(fs.existsSync(inCache('.no_exist', COMMIT, 'sentence_bert_config.json'))).toBe(true)
    expect(hub.requests('cdn')).toEqual([])
    hub.seen.length = 0
    expect(await get('model')).toBe(snapshot())
    expect(hub.seen).toEqual([])
  })

  test('is asked once about a model that has no modules', async () => {
    hub.models.set(ID, { commit: COMMIT, files: { 'config.json': config, 'model.safetensors': WEIGHTS } })
    fill()
    await get('model')
    expect(hub.seen.length).toBe(1)
    await get('model')
    expect(hub.seen.length).toBe(1)
  })

  test('gets how a decoder generates, once', async () => {
    const text = '{"num_beams":3}'
    hub.models.set(ID, {
      commit: COMMIT,
      files: { 'config.json': config, 'model.safetensors': WEIGHTS, 'generation_config.json': text },
    })
    fill()
    await get('model')
    expect(fs.readFileSync(snapshot('generation_config.json'), 'utf8')).toBe(text)
    hub.seen.length = 0
    await get('model')
    expect(hub.seen).toEqual([])
  })

  test('that an older version of bertkit has asked about modules is asked once more, about generation', async () => {
    hub.models.set(ID, { commit: COMMIT, files: { 'config.json': config, 'model.safetensors': WEIGHTS } })
    fill()
    fs.mkdirSync(inCache('.no_exist', COMMIT), { recursive: true })
    fs.writeFileSync(inCache('.no_exist', COMMIT, 'modules.json'), '')
    for (let i = 0; i < 2; i++) await get('model')
    expect(hub.seen.length).toBe(1)
    expect(fs.existsSync(inCache('.no_exist', COMMIT, 'generation_config.json'))).toBe(true)
  })

  test('gets what modules.json stands for where it has that alone', async () => {
    hub.models.set(ID, { commit: COMMIT, files: { ...FILES, 'sentence_bert_config.json': '{"max_seq_length":9}' } })
    fill({ 'config.json': config, 'model.safetensors': WEIGHTS, 'modules.json': '[]' })
    await get('model')
    expect(fs.readFileSync(snapshot('sentence_bert_config.json'), 'utf8')).toBe('{"max_seq_length":9}')
    expect(asked().filter((request) => request.startsWith('GET'))).toEqual([
      `GET /${ID}/resolve/${COMMIT}/1_Pooling/config.json`,
      `GET /${ID}/resolve/${COMMIT}/sentence_bert_config.json`,
    ])
  })

  test('keeps its weights though the Hub has others too', async () => {
    fill({ 'config.json': config, 'pytorch_model.bin': bin })
    await get('model')
    expect(fs.existsSync(snapshot('modules.json'))).toBe(true)
    expect(fs.existsSync(snapshot('model.safetensors'))).toBe(false)
    expect(hub.requests('cdn')).toEqual([])
  })

  test('is good enough offline, and where the Hub does not answer or no longer has it', async () => {
    fill()
    expect(await get('model', { env: { HF_HUB_OFFLINE: '1' } })).toBe(snapshot())
    expect(hub.seen).toEqual([])
    expect(await get('model', { env: { HF_ENDPOINT: 'http://127.0.0.1:1' } })).toBe(snapshot())
    for (const [status, kind] of [
      [401, 'RepoNotFound'],
      [403, 'GatedRepo'],
      [404, 'RepoNotFound'],
      [404, 'RevisionNotFound'],
      [503, ''],
    ] as const) {
      hub.intercept = (_, response) => response.writeHead(status, { 'x-error-code': kind }).end() !== undefined
      expect(await get('model')).toBe(snapshot())
    }
    hub.models.set(ID, { commit: NEWER, files: FILES }) // its history was rewritten
    hub.intercept = () => false
    expect(await get('model')).toBe(snapshot())
    expect(asked().filter((request) => request.includes('/resolve/'))).toEqual([])
  })

  test('that cannot be completed says so', async () => {
    fill()
    fs.writeFileSync(inCache('blobs'), '')
    await expect(get('model')).rejects.toThrow(FileError)
  })
})

describe('without the network', () => {
  test.each(['HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE'])('%s names what the cache lacks', async (name) => {
    const env = { [name]: '1' }
    await refuses(
      get('model', { env }),
      'not-cached',
      new RegExp(`${name} is set, but .*${FOLDER} lacks revision "main"`),
    )
    await get('config')
    hub.seen.length = 0
    await refuses(get('model', { env }), 'not-cached', /lacks model\.safetensors or/)
    await refuses(get('tokenizer', { localFilesOnly: true }), 'not-cached', /localFilesOnly.*lacks tokenizer\.json or/)
    await refuses(get('config', { env, revision: NEWER }), 'not-cached', /lacks config\.json/)
    expect(await get('config', { env })).toBe(snapshot())
    expect(hub.seen).toEqual([])
  })

  test('a cache that cannot say whether a file is missing is good enough, and only then', async () => {
    await get('tokenizer')
    fs.rmSync(snapshot('tokenizer_config.json'))
    expect(await get('tokenizer', { localFilesOnly: true })).toBe(snapshot())
    const env = { HF_ENDPOINT: 'http://127.0.0.1:1' }
    expect(await get('tokenizer', { env })).toBe(snapshot())
    await get('tokenizer')
    expect(fs.existsSync(snapshot('tokenizer_config.json'))).toBe(true)
  })

  test('a torn ref or a missing shard is not taken for a model', async () => {
    fs.mkdirSync(inCache('refs'), { recursive: true })
    fs.writeFileSync(inCache('refs/main'), '../../../..')
    await refuses(get('config', { localFilesOnly: true }), 'not-cached', /lacks revision/)
    fs.writeFileSync(inCache('refs/main'), COMMIT)
    fs.mkdirSync(snapshot(), { recursive: true })
    fs.writeFileSync(snapshot('config.json'), '{}')
    fs.writeFileSync(snapshot('model.safetensors.index.json'), '{"weight_map":{"a":"m-1.safetensors"}}')
    await refuses(get('model', { localFilesOnly: true }), 'not-cached', /lacks m-1\.safetensors/)
  })

  test('a cache that cannot be written is a FileError', async () => {
    fs.writeFileSync(path.join(home, 'file'), '')
    await expect(get('config', { cacheDir: path.join(home, 'file', 'hub') })).rejects.toThrow(FileError)
  })
})
