// Benchmarks that compare: what is compared takes turns, so that a machine that gets slower does so for all.
import { bench, describe } from 'vitest';

/** Measures once, and tells how many milliseconds it took. */
export type Measure = () => Promise<number>;

export interface Comparison {
  readonly rounds: number;
  readonly unit: 'ms' | 'µs';
  /** The others are compared with the first. */
  readonly variants: { readonly [variant: string]: Measure };
  /** Called at the end. */
  readonly end?: () => Promise<void>;
}

/** Benchmarks the variants, and prints the medians of what they took and of the rounds' ratios. */
export function compare(name: string, { rounds, unit, variants, end }: Comparison): void {
  const names = Object.keys(variants);
  const taken = names.map((): number[] => []);
  const took = (variant: number, round: number) => taken[variant]?.[round] ?? Number.NaN;

  async function measure(round: number) {
    for (const place of names.keys()) {
      const variant = (place + round) % names.length;
      taken[variant]?.push((await variants[names[variant] ?? '']?.()) ?? Number.NaN);
    }
  }

  function print() {
    const all = [...Array(rounds).keys()];
    const figure = (ms: number) => Number((unit == 'ms' ? ms : ms * 1000).toPrecision(3));
    const rows = names.map((title, variant) => {
      const times = all.map(round => took(variant, round));
      const ratios = all.map(round => took(variant, round) / took(0, round));
      const [median, p95] = [quantile(times, 0.5), quantile(times, 0.95)].map(figure);
      return `| ${title} | ${median} | ${p95} | ${quantile(ratios, 0.5).toFixed(2)} |`;
    });
    const head = `| ${name} | ${unit} | p95 | ratio |\n| --- | --- | --- | --- |`;
    console.log(`${head}\n${rows.join('\n')}\n`);
  }

  describe(name, () => {
    for (const [variant, title] of names.entries()) {
      // vitest runs one bench after the other. So the first runs all the rounds, the others have their part in them
      // by then, and each has a clock that only what was measured moves on.
      let clock = 0;
      let round = 0;
      const next = async () => {
        if (!variant) await measure(round);
        clock += took(variant, round++);
      };
      bench(title, next, {
        now: () => clock,
        time: 0,
        iterations: rounds,
        warmupTime: 0,
        warmupIterations: 0,
        async teardown(_, mode) {
          if (mode != 'run' || variant < names.length - 1) return;
          print();
          await end?.();
        },
      });
    }
  });
}

function quantile(samples: readonly number[], q: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.round(q * (sorted.length - 1))] ?? Number.NaN;
}

/** The processor time of this process that `work` takes, in milliseconds for each of `count`. */
export async function processorTime(count: number, work: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000 / count;
}
