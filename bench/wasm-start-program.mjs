// What wasm-start.mjs times, in a process or a page that is new: milliseconds from the import to the first embedding, part by part.
// `files`: the model's, in memory, so that no download and no disk is in it.
export async function start(bundle, files, wasm) {
  const times = [performance.now()]
  const { pipeline, BertTokenizer } = await import(bundle)
  times.push(performance.now())
  const tokenizer = await BertTokenizer.fromPretrained(files)
  times.push(performance.now())
  const options = { tokenizer, backend: 'wasm', dtype: 'int8', threads: 1, wasm }
  const embed = await pipeline('feature-extraction', files, options)
  times.push(performance.now())
  const { data } = await embed('How do I reset the PIN of my new card?', { pooling: 'mean', normalize: true })
  times.push(performance.now())
  embed.dispose()
  const parts = ['import', 'tokenizer', 'load', 'first']
  const ms = Object.fromEntries(parts.map((name, i) => [name, times[i + 1] - times[i]]))
  return { ms: { ...ms, all: times.at(-1) - times[0] }, vector: [...data] }
}
