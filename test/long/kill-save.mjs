// Kills a process that saves weights 1,000 times at random moments. Needs `npm run build`. Usage: node test/long/kill-save.mjs [kills]
import { killRepeatedly } from '../formats/kills.mjs'

const count = Number(process.argv[2] ?? 1000)
const { failures, interrupted } = await killRepeatedly(count, Math.random)
for (const failure of failures.slice(0, 20)) console.log(failure)
console.log(`${count} kills, ${interrupted} of them inside a write, ${failures.length} folders neither old nor new`)
process.exitCode = failures.length === 0 && interrupted > 0 ? 0 : 1
