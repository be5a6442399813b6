#!/usr/bin/env node
// Copies uPlot, which draws the curves of a report, from node_modules to assets/report/: what is inlined must lie in the package.
//   node scripts/report-assets.mjs
import { readFileSync, writeFileSync } from 'node:fs'

const from = new URL('../node_modules/uplot/', import.meta.url)
const to = new URL('../assets/report/', import.meta.url)
const read = (name) => readFileSync(new URL(name, from), 'utf8')

const licence = read('LICENSE').replaceAll('\r', '').trim()
writeFileSync(new URL('uplot.js', to), `/*!\n${licence}\n*/\n${read('dist/uPlot.iife.min.js').trim()}\n`)
writeFileSync(new URL('uplot.css', to), `${read('dist/uPlot.min.css').trim()}\n`)
