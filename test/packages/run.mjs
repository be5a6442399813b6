// npm run test:packages [-- NAME...]: the packages as they are published. Stages and packs them (scripts/pack.mjs), publishes the
// tarballs to a registry on this machine, and runs every *.test.mjs of this folder, which install them from there.
// BERTKIT_REFERENCE_DIR: the reference data; without it, programs on MiniLM are skipped. With BERTKIT_REQUIRE_PACKAGES, names of platforms
// or all, whatever else is missing is an error, not skipped, but for the addons of other platforms than those.
// Addons come from prebuilds/; where that has none for this machine, from build/Release.
import { main } from '../../scripts/command.mjs'
import { runFolder } from '../run-folder.mjs'
import { stage } from './stage.mjs'

main('test:packages', () =>
  runFolder(import.meta.dirname, process.argv.slice(2), async () => {
    process.env.BERTKIT_STAGED = stage()
    // which looks for a Node among the packages that were installed just now
    const { startRegistry } = await import('./registry.mjs')
    const registry = await startRegistry(process.env.BERTKIT_STAGED)
    process.env.BERTKIT_REGISTRY = registry.address
    return registry.stop
  }),
)
