// The loss curve: each step, and the running mean that the eye would draw.

/** More points than a screen has columns tell nobody anything. */
const MOST_POINTS = 400
/** Of the mean, at each step. */
const KEPT = 0.8

export class Chart {
  #figure
  #losses = []
  #steps = 1
  #waiting = false

  constructor(figure) {
    this.#figure = figure
  }

  clear(steps = 1) {
    this.#losses = []
    this.#steps = steps
    this.#draw()
  }

  add(loss) {
    this.#losses.push(loss)
    if (this.#waiting) return
    this.#waiting = true
    requestAnimationFrame(() => {
      this.#waiting = false
      this.#draw()
    })
  }

  /** The running mean after each step, without a bias towards its beginning. */
  #means() {
    let sum = 0
    let weight = 0
    return this.#losses.map((loss) => {
      sum = KEPT * sum + (1 - KEPT) * loss
      weight = KEPT * weight + (1 - KEPT)
      return sum / weight
    })
  }

  #draw() {
    const losses = this.#losses
    const find = (selector) => this.#figure.querySelector(selector)
    const highest = Math.max(...losses, 0)
    const means = this.#means()
    const stride = Math.ceil(losses.length / MOST_POINTS)
    const path = (values) => {
      const points = values
        .map((value, i) => [i, value])
        .filter(([i]) => i % stride === 0 || i === values.length - 1)
        .map(
          ([i, value]) =>
            `${((100 * i) / Math.max(1, this.#steps - 1)).toFixed(2)} ${(100 - (92 * value) / highest).toFixed(2)}`,
        )
      return points.length > 0 ? `M${points.join('L')}` : ''
    }
    find('.each').setAttribute('d', path(losses))
    find('.smooth').setAttribute('d', path(means))
    find('.top').textContent = losses.length > 0 ? highest.toFixed(2) : ''
    find('.last').textContent = losses.length > 0 ? `step ${this.#steps}` : ''
    find('svg').setAttribute(
      'aria-label',
      losses.length > 0
        ? `Loss from ${losses[0].toFixed(2)} at step 1 to ${means.at(-1).toFixed(2)} at step ${losses.length} of ${this.#steps}`
        : 'No loss yet',
    )
  }
}
