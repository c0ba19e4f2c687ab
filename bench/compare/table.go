package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/genbrowser/genbrowser/bench/lab"
)

// column is one measure.
type column struct {
	name   string
	format string
	of     func(r *lab.Result) float64
}

var columns = []column{
	{"idle KiB", "%12.2f", func(r *lab.Result) float64 { return r.Idle }},
	{"cpu/msg us", "%12.2f", func(r *lab.Result) float64 { return r.CPU }},
	{"msgs/s", "%12.0f", func(r *lab.Result) float64 { return r.Delivered }},
	{"p50 us", "%12.0f", func(r *lab.Result) float64 { return r.P50 }},
	{"p99 us", "%12.0f", func(r *lab.Result) float64 { return r.P99 }},
	{"p99.9 us", "%12.0f", func(r *lab.Result) float64 { return r.P999 }},
}

// table gathers the runs of all rounds. Those of as many streams and workers are compared with each other.
type table struct{ groups []*group }

type group struct {
	streams, workers int
	rows             []*row
}

type row struct {
	name string
	runs []lab.Result
}

func (t *table) add(r lab.Result) {
	i := slices.IndexFunc(t.groups, func(g *group) bool { return g.streams == r.Streams && g.workers == r.Workers })
	if i < 0 {
		i = len(t.groups)
		t.groups = append(t.groups, &group{streams: r.Streams, workers: r.Workers})
	}
	g := t.groups[i]
	i = slices.IndexFunc(g.rows, func(w *row) bool { return w.name == r.Name })
	if i < 0 {
		i = len(g.rows)
		g.rows = append(g.rows, &row{name: r.Name})
	}
	g.rows[i].runs = append(g.rows[i].runs, r)
}

func (t *table) print() {
	for _, g := range t.groups {
		fmt.Printf("\n%d streams, %d workers\n%-12s", g.streams, g.workers, "median")
		for _, c := range columns {
			fmt.Printf("%12s", c.name)
		}
		fmt.Println()
		for _, w := range g.rows {
			fmt.Printf("%-12s", w.name)
			for _, c := range columns {
				fmt.Printf(c.format, w.median(c))
			}
			fmt.Println(w.faults())
		}
		if len(g.rows) > 1 {
			fmt.Println("ratios of medians (the least and the greatest of a round)")
		}
		for i, w := range g.rows {
			for _, base := range g.rows[:i] {
				printRatios(w, base)
			}
		}
	}
}

func (w *row) median(c column) float64 { return lab.Median(w.all(c)) }

func (w *row) all(c column) (all []float64) {
	for i := range w.runs {
		all = append(all, c.of(&w.runs[i]))
	}
	return all
}

// faults is what must not be in any run.
func (w *row) faults() string {
	var b strings.Builder
	for _, r := range w.runs {
		if r.Lost != 0 || r.Bad != 0 {
			fmt.Fprintf(&b, "  LOST %d BAD %d", r.Lost, r.Bad)
		}
	}
	return b.String()
}

func printRatios(w, base *row) {
	fmt.Printf("%-24s", w.name+" / "+base.name)
	for _, c := range columns {
		var each []float64
		for i, v := range w.all(c) {
			each = append(each, v/c.of(&base.runs[i]))
		}
		name, _, _ := strings.Cut(c.name, " ")
		fmt.Printf("  %s %.2f (%.2f-%.2f)", name, w.median(c)/base.median(c), slices.Min(each), slices.Max(each))
	}
	fmt.Println()
}
