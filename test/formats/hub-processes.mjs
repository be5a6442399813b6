// Downloads a model with the built package, for hub-processes.test.ts: `node hub-processes.mjs ID` prints the folder.
import { resolveModelFolder } from '../../dist/formats/hub.js'

process.stdout.write(await resolveModelFolder(process.argv[2], 'model'))
