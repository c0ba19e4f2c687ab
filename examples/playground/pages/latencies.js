/** The figures and the graph of the round trips so far. */
import { byId } from './page.js';

const KEPT = 1000;
const DRAWN = 60;

export const milliseconds = ms => `${ms.toFixed(1)} ms`;

export function createLatencies() {
  const all = [];
  return {
    get count() {
      return all.length;
    },
    add(ms) {
      all.push(ms);
      if (all.length > KEPT) all.shift();
      const sorted = all.toSorted((a, b) => a - b);
      const percentile = p => milliseconds(sorted[Math.ceil((p / 100) * sorted.length) - 1]);
      byId('last').textContent = milliseconds(ms);
      byId('median').textContent = percentile(50);
      byId('p99').textContent = percentile(99);
      draw(all.slice(-DRAWN));
    },
  };
}

/** One bar for each round trip, the newest at the right, the slowest as high as the graph. */
function draw(latencies) {
  const graph = byId('graph');
  const { width, height } = graph.viewBox.baseVal;
  const slowest = Math.max(...latencies);
  const bars = latencies.map((ms, at) => {
    const bar = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
    const high = Math.max(1, (ms / slowest) * height);
    bar.setAttribute('x', width - latencies.length + at);
    bar.setAttribute('y', height - high);
    bar.setAttribute('width', 0.7);
    bar.setAttribute('height', high);
    return bar;
  });
  graph.replaceChildren(...bars);
}
