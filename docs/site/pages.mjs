// The pages of the site: which files of the repository they are, and in which order they are listed.

/** Groups of the sidebar: [title, path on the site]. */
export const SIDEBAR = [
  {
    text: 'Begin',
    items: [
      ['Getting started', 'getting-started'],
      ['Installing', 'installing'],
      ['Models and where they come from', 'models'],
      ['Coming from Transformers', 'from-transformers'],
    ],
  },
  {
    text: 'Train',
    items: [
      ['Fine-tuning', 'fine-tuning'],
      ['Classifying texts and pairs', 'tasks/sequence-classification'],
      ['Tagging words', 'tasks/token-classification'],
      ['Answering questions', 'tasks/question-answering'],
      ['Choosing among answers', 'tasks/multiple-choice'],
      ['Language models', 'tasks/language-models'],
      ['Pre-training from text', 'tasks/pre-training'],
    ],
  },
  {
    text: 'Use',
    items: [
      ['Pipelines', 'pipelines'],
      ['Serving', 'serving'],
      ['Browsers and edge workers', 'webassembly'],
      ['NVIDIA GPUs', 'cuda'],
      ['Example: a page that fine-tunes', 'examples/browser'],
      ['Example: a Cloudflare worker', 'examples/worker'],
    ],
  },
  {
    text: 'Know',
    items: [
      ['Performance', 'performance'],
      ['Accuracy', 'accuracy'],
      ['Quality', 'quality'],
      ['How it works', 'architecture'],
      ['What is published', 'packages'],
      ['Experiments', 'experiments/'],
    ],
  },
  {
    text: 'Reference',
    items: [
      ['API', 'api/'],
      ['Command line', 'reference/command-line'],
      ['Training arguments', 'reference/training-arguments'],
    ],
  },
  {
    text: 'The project',
    items: [
      ['Changes', 'changelog'],
      ['Contributing', 'contributing'],
      ['Security', 'security'],
      ['Code of conduct', 'code-of-conduct'],
    ],
  },
]

const OUTSIDE = {
  'README.md': 'index.md',
  'CHANGELOG.md': 'changelog.md',
  'CODE_OF_CONDUCT.md': 'code-of-conduct.md',
  'CONTRIBUTING.md': 'contributing.md',
  'SECURITY.md': 'security.md',
  'examples/browser/README.md': 'examples/browser.md',
  'examples/worker/README.md': 'examples/worker.md',
}

/** The page that a Markdown file of the repository becomes; undefined for one that is no page. */
export function pageOf(file) {
  if (Object.hasOwn(OUTSIDE, file)) return OUTSIDE[file]
  if (!file.startsWith('docs/') || file.startsWith('docs/site/') || !file.endsWith('.md')) return undefined
  return file.slice('docs/'.length).replace(/(^|\/)README\.md$/, '$1index.md')
}

/** Files outside of docs/ that are pages; README.md only lends its name: the site begins with docs/index.md. */
export const PAGES_OUTSIDE = Object.keys(OUTSIDE).filter((file) => file !== 'README.md')
