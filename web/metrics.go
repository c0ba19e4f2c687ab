package web

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// metrics serves the numbers of the server, the Go runtime and the process as Prometheus reads them.
func (h *Handler) metrics() http.HandlerFunc {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{h}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(h.log.Handler(), slog.LevelError),
	}).ServeHTTP
}

// scrape is all numbers at one moment.
type scrape struct {
	server.Metrics
	streams   int
	delivered int64
	fast      int64
}

// number is one metric.
type number struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*scrape) float64
}

func gauge[N int | int64 | float64](name, help string, value func(*scrape) N) number {
	return newNumber(prometheus.GaugeValue, name, help, nil, value)
}

func total[N int | int64 | float64](name, help string, value func(*scrape) N) number {
	return newNumber(prometheus.CounterValue, name+"_total", help, nil, value)
}

// totalTo is a total that is told apart by what messages go to.
func totalTo(name, to, help string, value func(*scrape) int64) number {
	return newNumber(prometheus.CounterValue, name+"_total", help, prometheus.Labels{"to": to}, value)
}

func newNumber[N int | int64 | float64](kind prometheus.ValueType, name, help string, labels prometheus.Labels, value func(*scrape) N) number {
	desc := prometheus.NewDesc("genbrowser_"+name, help, nil, labels)
	return number{desc, kind, func(r *scrape) float64 { return float64(value(r)) }}
}

const (
	acceptedHelp  = "Messages taken and, where there is a log, stored. Repetitions of an idempotency key do not count."
	deliveredHelp = "Messages written to streams and long-polls, each time that they were, or handled by processes."
)

var numbers = []number{
	gauge("mailboxes", "Mailboxes that this server keeps.", func(r *scrape) int64 { return r.Mailboxes }),
	gauge("waiting_bytes", "Bytes of bodies that wait in mailboxes and in queues of processes.", func(r *scrape) int64 { return r.Bytes }),
	gauge("streams", "Streams that are open.", func(r *scrape) int { return r.streams }),
	gauge("shards_owned", "Shards of mailboxes that this server owns.", func(r *scrape) int { return r.Shards }),
	gauge("registered_names", "Registered names that this server keeps.", func(r *scrape) int { return r.Registered }),
	total("mailboxes_opened", "Mailboxes opened.", func(r *scrape) int64 { return r.Opened }),
	totalTo("messages_accepted", "mailbox", acceptedHelp, func(r *scrape) int64 { return r.Accepted }),
	totalTo("messages_accepted", "process", acceptedHelp, func(r *scrape) int64 { return r.Queued }),
	totalTo("messages_delivered", "mailbox", deliveredHelp, func(r *scrape) int64 { return r.delivered }),
	totalTo("messages_delivered", "process", deliveredHelp, func(r *scrape) int64 { return r.Handled }),
	total("fast_lane_sends", "Sends that the fast lane served, past net/http.", func(r *scrape) int64 { return r.fast }),
}

var requestsDesc = prometheus.NewDesc("genbrowser_requests_refused_total",
	"Requests that were answered with a problem, by its code. The failures that callees reply with do not count.", []string{"reason"}, nil)

var refusedDesc = prometheus.NewDesc("genbrowser_messages_refused_total",
	"Messages refused to their senders, by the code of the problem that these were told.", []string{"reason"}, nil)

var unopenedDesc = prometheus.NewDesc("genbrowser_mailboxes_refused_total",
	"Mailboxes that were not opened, by the code of the problem that the client was told.", []string{"reason"}, nil)

// logNumbers are those of a server whose mailboxes outlive it.
var logNumbers = []number{
	total("log_written_bytes", "Bytes written to the log.", func(r *scrape) int64 { return r.Log.Bytes }),
	total("log_stalls", "How often the log came to take nothing.", func(r *scrape) int64 { return r.Log.Stalls }),
	gauge("log_stalled", "1 while the log takes nothing, and senders are refused; else 0.", func(r *scrape) int { return oneIf(r.Log.Stalled) }),
	gauge("log_lease_age_seconds", "Time since the newest entry of this server in the log was sent. In a cluster, others take its shards when that gets too long.",
		func(r *scrape) float64 { return r.Log.Newest.Seconds() }),
	gauge("log_replay_seconds", "How long reading the log took when shards were taken over last.", func(r *scrape) float64 { return r.Log.ReplayTook.Seconds() }),
	gauge("log_replay_records", "Records that were read then.", func(r *scrape) int64 { return r.Log.Replayed }),
	total("log_snapshots", "Snapshots written to the log.", func(r *scrape) int64 { return r.Log.Snapshots }),
	total("log_snapshot_seconds", "Time that snapshots took.", func(r *scrape) float64 { return r.Log.SnapshotTook.Seconds() }),
	total("log_snapshot_bytes", "Bytes of mailboxes and messages in snapshots.", func(r *scrape) int64 { return r.Log.SnapshotSize }),
}

var (
	commitRecordsDesc = prometheus.NewDesc("genbrowser_log_commit_records", "Records stored with one commit.", nil, nil)
	commitSecondsDesc = prometheus.NewDesc("genbrowser_log_commit_seconds", "Time that a commit took to be stored, however often it was tried.", nil, nil)
)

// clusterNumbers are those of a node.
var clusterNumbers = []number{
	gauge("cluster_nodes_heard", "Other nodes that this one hears.", func(r *scrape) int { return r.Cluster.Nodes }),
	total("cluster_packets_lost", "Packets of other nodes that did not arrive here.", func(r *scrape) int64 { return r.Cluster.PacketsLost }),
	gauge("cluster_calls_in_flight", "Calls to other nodes that are not answered.", func(r *scrape) int { return r.Cluster.Calls }),
}

func oneIf(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// collector implements [prometheus.Collector].
type collector struct{ h *Handler }

func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, list := range [][]number{numbers, logNumbers, clusterNumbers} {
		for _, n := range list {
			out <- n.desc
		}
	}
	out <- requestsDesc
	out <- refusedDesc
	out <- unopenedDesc
	out <- commitRecordsDesc
	out <- commitSecondsDesc
}

func (c *collector) Collect(out chan<- prometheus.Metric) {
	h := c.h
	r := &scrape{h.office.Metrics(), h.streams.count(), h.tally.delivered.Load(), h.tally.fast.Load()}
	r.send(out, numbers)
	for _, k := range problem.Kinds() {
		out <- refusals(requestsDesc, h.tally.requests, k)
		out <- refusals(refusedDesc, h.tally.refused, k)
		out <- refusals(unopenedDesc, h.tally.unopened, k)
	}
	if r.Log != nil {
		r.send(out, logNumbers)
		out <- histogram(commitRecordsDesc, &r.Log.Records, 1)
		out <- histogram(commitSecondsDesc, &r.Log.Took, float64(time.Second))
	}
	if r.Cluster != nil {
		r.send(out, clusterNumbers)
	}
}

func refusals(d *prometheus.Desc, of byKind, k *problem.Kind) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(of[k].Load()), k.Code)
}

func (r *scrape) send(out chan<- prometheus.Metric, list []number) {
	for _, n := range list {
		out <- prometheus.MustNewConstMetric(n.desc, n.kind, n.value(r))
	}
}

// histogram has each bucket count those below it too, and values in the base unit, which has so many of d's.
func histogram(desc *prometheus.Desc, d *server.Distribution, unit float64) prometheus.Metric {
	buckets, below := make(map[float64]uint64), uint64(0)
	for i, bound := range d.Bounds {
		below += uint64(d.Counts[i])
		buckets[float64(bound)/unit] = below
	}
	return prometheus.MustNewConstHistogram(desc, uint64(d.Count()), float64(d.Sum)/unit, buckets)
}
