// examples/browser as a person uses it: in Chromium, on a desktop and on a phone.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { MemorySource } from '../../dist/formats/source.js'
import { readZip, verifyEntry } from '../../dist/formats/zip.js'
import { BertForSequenceClassification, BertTokenizer } from '../../dist/index.js'
import { readCsv } from '../../examples/browser/examples.mjs'
import { addressOf, serve } from '../../examples/browser/serve.mjs'
import { folders, launch, reference, skip } from './chromium.mjs'

/** Where the pictures go, to be looked at. */
const PICTURES = path.join(import.meta.dirname, '..', '..', 'out', 'example-browser')

const TYPED = [
  ['The noodles were bland and cold', 'bad'],
  ['The noodles were hot and delicious', 'good'],
]
/** In none of the examples. */
const NEW = [
  ['the cakes were fresh and the people lovely', 'good'],
  ['a slow and rude waiter, the fish was stale', 'bad'],
  ['excellent noodles at a fair price', 'good'],
  ['awful, noisy and dirty', 'bad'],
]

/** The files of an archive by name, with the checksums that it says. */
async function unzip(bytes) {
  const source = new MemorySource('the archive', bytes)
  const files = {}
  for (const entry of (await readZip(source)).values()) {
    assert.notEqual(entry.crc, 0)
    await verifyEntry(source, entry)
    files[entry.name] = bytes.subarray(entry.offset, entry.offset + entry.size)
  }
  return files
}

describe('the CSV reader of examples/browser', () => {
  const read = (content, name = 'reviews.csv') => readCsv(new File([content], name))

  test('reads quoted cells, other columns, other separators and the byte order mark', async () => {
    const expected = [
      { text: 'warm, "honest"\nfilm', label: 'good' },
      { text: 'flat', label: 'bad' },
    ]
    assert.deepEqual(await read('\ufeffid,Text,Label\r\n1,"warm, ""honest""\nfilm",good\r\n\r\n2,flat,bad'), expected)
    assert.deepEqual(await read('label;text\ngood;"warm, ""honest""\nfilm"\nbad;flat\n'), expected)
  })

  const mistakes = {
    'no label column': [
      'text,stars\nwarm,5\n',
      /no column “label”: its first line names “text”, “stars”\. Name the column/,
    ],
    'nothing in it': ['', /reviews\.csv is empty/],
    'only a header': ['text,label\n', /no examples below/],
    'a missing label': ['text,label\n"two\nlines",good\nflat\n', /reviews\.csv, line 4: there is no label/],
    'a quote that is not closed': ['text,label\nwarm,good\n"flat,bad\n', /Line 3: a quote is not closed/],
    'bytes that are no UTF-8': [Uint8Array.of(0x74, 0xff), /not text in UTF-8/],
  }
  for (const [what, [content, expected]] of Object.entries(mistakes))
    test(`says what to do about ${what}`, () => assert.rejects(read(content), expected))
})

describe('examples/browser', { skip }, () => {
  let browser
  let server
  before(async () => {
    browser = await launch()
    server = await serve({ folders })
    fs.mkdirSync(PICTURES, { recursive: true })
  })
  after(async () => {
    await browser?.close()
    server?.close()
  })

  async function open(options = {}) {
    const page = await browser.newPage({ acceptDownloads: true, ...options })
    page.setDefaultTimeout(60_000)
    const faults = []
    page.on('pageerror', (error) => faults.push(String(error)))
    page.on('request', (request) => {
      if (!/^(blob:)?http:\/\/localhost:/.test(request.url())) faults.push(`a request to ${request.url()}`)
    })
    await page.goto(addressOf(server))
    return { page, faults }
  }

  /** Drops a file or a folder from the disk on an element. */
  async function dropFile(page, selector, file, content) {
    if (content !== undefined) fs.writeFileSync(file, content)
    await page.locator(selector).scrollIntoViewIfNeeded()
    const { x, y } = await page.locator(selector).boundingBox()
    const session = await page.context().newCDPSession(page)
    const data = { items: [], files: [file], dragOperationsMask: 1 }
    for (const type of ['dragEnter', 'dragOver', 'drop'])
      await session.send('Input.dispatchDragEvent', { type, x: x + 5, y: y + 5, data })
  }

  const status = (page) => page.locator('#status').textContent()
  const waitForStatus = (page, pattern) =>
    page.waitForFunction(
      (source) => new RegExp(source).test(document.getElementById('status').textContent),
      pattern.source,
    )
  const points = async (page) => ((await page.locator('#chart .each').getAttribute('d')) ?? '').split('L').length

  async function scores(page, text) {
    await page.getByLabel('A text that it has not seen').fill(text)
    await page.getByRole('list', { name: 'Scores' }).evaluate((list) => list.replaceChildren())
    await page.getByRole('button', { name: 'Score' }).click()
    await page.locator('#scores li').first().waitFor()
    return page
      .locator('#scores li')
      .evaluateAll((rows) =>
        rows.map((row) => [row.querySelector('span').textContent, Number(row.querySelector('data').value)]),
      )
  }

  for (const [device, viewport, colorScheme] of [
    ['desktop', { width: 1280, height: 900 }, 'light'],
    ['phone', { width: 360, height: 740 }, 'dark'],
  ])
    test(`typed examples and a CSV become a model that is right and that Node loads, on a ${device}`, async () => {
      const { page, faults } = await open({ viewport, colorScheme })
      const picture = (name) => page.screenshot({ path: path.join(PICTURES, `${device}-${name}.png`), fullPage: true })
      for (const [text, label] of TYPED) {
        await page.getByLabel('Text', { exact: true }).fill(text)
        await page.getByLabel('Label', { exact: true }).fill(label)
        await page.getByLabel('Label', { exact: true }).press('Enter')
      }
      assert.match(await page.locator('#count').textContent(), /^2 examples \(bad: 1, good: 1\)/)
      await page
        .getByLabel(/drop a CSV file/)
        .setInputFiles(path.join(import.meta.dirname, '../../examples/browser/sample.csv'))
      await page.getByText('62 examples (bad: 31, good: 31).').waitFor()

      await page.getByRole('button', { name: 'Train' }).click()
      await waitForStatus(page, /^Step \d\d/)
      const early = await points(page)
      assert.ok(early > 1, 'the curve is drawn while it trains')
      await picture('training')
      await waitForStatus(page, /^Trained in/)
      assert.ok((await points(page)) > early, 'the curve has grown')
      const [, first, last] = /Loss from ([\d.]+) .* to ([\d.]+) /.exec(
        await page.getByRole('img').getAttribute('aria-label'),
      )
      assert.ok(Number(last) < Number(first) / 4, `the loss fell from ${first} to ${last}`)
      assert.match(
        await page.locator('#engine').textContent(),
        /parameters, computed by WebAssembly \(relaxed\), (one thread|\d+ threads)/,
      )

      const seen = []
      for (const [text, label] of NEW) {
        const [best, ...others] = await scores(page, text)
        assert.equal(best[0], label, `${text}: ${best}`)
        seen.push(Object.fromEntries([best, ...others]))
      }
      await picture('scores')
      const overflow = await page.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
      )
      assert.equal(overflow, 0, 'nothing is wider than the screen')

      const [download] = await Promise.all([
        page.waitForEvent('download'),
        page.getByRole('button', { name: 'Download the model' }).click(),
      ])
      assert.equal(download.suggestedFilename(), 'my-bert.zip')
      const found = await unzip(fs.readFileSync(await download.path()))
      const folder = fs.mkdtempSync(path.join(PICTURES, 'model-'))
      for (const [name, bytes] of Object.entries(found)) {
        assert.equal(path.dirname(name), 'my-bert')
        fs.writeFileSync(path.join(folder, path.basename(name)), bytes)
      }
      const tokenizer = await BertTokenizer.fromPretrained(folder)
      const model = await BertForSequenceClassification.fromPretrained(folder, { backend: 'cpu' })
      for (const [i, [text]] of NEW.entries()) {
        const { inputIds } = tokenizer.encode(text, { truncation: true, maxLength: 64 })
        const { data } = (await model.forward({ inputIds: [inputIds] })).logits
        const total = data.reduce((sum, logit) => sum + Math.exp(logit), 0)
        for (const [id, logit] of data.entries()) {
          const difference = Math.abs(Math.exp(logit) / total - seen[i][model.config.id2label[id]])
          assert.ok(difference < 1e-6, `${text}: ${model.config.id2label[id]} differs by ${difference}`)
        }
      }
      model.dispose()
      fs.rmSync(folder, { recursive: true })
      assert.deepEqual(faults, [])
      await page.close()
    })

  test('fine-tunes MiniLM from an address, and stops when told to', async () => {
    const { page, faults } = await open()
    await page.getByRole('button', { name: 'Take 60 sample reviews' }).click()
    await page.getByText('60 examples (bad: 30, good: 30).').waitFor()
    await page.getByLabel('A pretrained model').check()
    await page.getByLabel('Address of its folder').fill('/shared/data/weights/all-MiniLM-L6-v2/')
    await page.getByText('Settings').click()
    await page.getByLabel('Passes over the examples').fill('8')
    await page.getByRole('button', { name: 'Train' }).click()
    await waitForStatus(page, /^Step/)
    await page.getByRole('button', { name: 'Stop' }).click()
    await waitForStatus(page, /^Stopped/)
    assert.equal(await status(page), 'Stopped. It keeps what it has learnt so far.')
    assert.equal((await scores(page, 'bland')).length, 2)

    await dropFile(page, '#folder-drop', path.join(reference, 'data/weights/all-MiniLM-L6-v2'))
    await page.getByText(/^all-MiniLM-L6-v2: \d+ files$/).waitFor()
    assert.equal(await page.getByLabel('Address of its folder').inputValue(), '')
    await page.getByRole('button', { name: 'Train' }).click()
    await waitForStatus(page, /^Trained in/)
    const right = []
    for (const [text, label] of NEW) right.push((await scores(page, text))[0][0] === label)
    assert.deepEqual(right, [true, true, true, true])
    assert.deepEqual(faults, [])
    await page.close()
  })

  test('says what to do about mistakes, and goes on', async () => {
    const { page, faults } = await open({ viewport: { width: 360, height: 740 } })
    const alert = (id) => page.locator(`#${id}[role=alert]`).textContent()
    const train = page.getByRole('button', { name: 'Train' })
    await train.click()
    await page.locator('#training-error', { hasText: 'at least two labels' }).waitFor()
    assert.equal(await status(page), 'Not trained yet.')

    const csv = (content) => ({ name: 'stars.csv', mimeType: 'text/csv', buffer: Buffer.from(content) })
    await page.getByLabel(/drop a CSV file/).setInputFiles(csv('text,stars\nwarm,5\n'))
    await page.getByText('stars.csv has no column “label”').waitFor()
    await dropFile(page, '#csv-drop', path.join(PICTURES, 'stars.csv'), 'text,label\nwarm,good\ncold,bad\n')
    await page.getByText('2 examples (bad: 1, good: 1).').waitFor()
    assert.equal(await alert('examples-error'), '')

    await page.getByLabel('A pretrained model').check()
    await train.click()
    await page.getByText('Say where the pretrained model is').waitFor()
    await page.getByLabel('Address of its folder').fill('/models/none/')
    await train.click()
    await page.locator('#training-error', { hasText: 'none' }).waitFor()
    assert.match(
      await alert('training-error'),
      /models\/none\/: Expected tokenizer\.json or vocab\.txt but found neither/,
    )
    await page.screenshot({ path: path.join(PICTURES, 'phone-mistake.png'), fullPage: true })

    await page.getByLabel('A small new BERT').check()
    await page.getByText('Settings').click()
    await page.getByLabel('Longest text, in tokens').fill('4')
    await train.click()
    await page.getByText('“Longest text, in tokens” must be a number from 8 to 512.').waitFor()
    await page.getByLabel('Longest text, in tokens').fill('16')
    await page.getByLabel('Passes over the examples').fill('2')
    await train.click()
    await waitForStatus(page, /^Trained in/)
    assert.equal(await alert('training-error'), '')
    assert.deepEqual(faults, [])
    await page.close()
  })
})
