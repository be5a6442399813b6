// Kills a process that trains 300 times at random moments. Needs `npm run build`. Usage: node test/long/kill-train.mjs [kills]
import { killTraining } from '../train/kills.mjs'

const count = Number(process.argv[2] ?? 300)
const { failures, interrupted } = await killTraining(count, Math.random)
for (const failure of failures.slice(0, 20)) console.log(failure)
console.log(`${count} kills, ${interrupted} of them inside a save, ${failures.length} failures`)
process.exitCode = failures.length === 0 && interrupted > 0 ? 0 : 1
