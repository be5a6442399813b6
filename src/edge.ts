/// <reference lib="esnext.disposable" preserve="true" />
// For browsers and edge workers: models, tokenizers, pipelines and AdamW, but no Trainer, no command line and no folders.
import './platform-web.ts'

export * from './core.ts'
