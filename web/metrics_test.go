package web

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/mailbox/jetstream"
	"github.com/genbrowser/genbrowser/server"
)

// metric returns the value of a metric, with its labels, as /metrics has it.
func (s *site) metric(name string) string {
	s.t.Helper()
	for line := range strings.Lines(s.do("GET", "/metrics", "").body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return "none"
}

func (s *site) expectMetrics(want map[string]string) {
	s.t.Helper()
	for name, value := range want {
		if got := s.metric(name); got != value {
			s.t.Errorf("%s is %s, want %s", name, got, value)
		}
	}
}

func TestMetrics(t *testing.T) {
	s := serve(t, setup{server: server.Options{Limits: mailbox.Limits{Backlog: 2}}})
	release := make(chan struct{})
	p, err := s.office.Handle("p", server.HandlerFunc(func(context.Context, server.Message) error { <-release; return nil }))
	if err != nil {
		t.Fatal(err)
	}
	e := s.stream("/_gb/mailbox?new&ack=manual")
	o := e.init()
	asleep := s.open()
	s.mustSend(o.Address, "1", "2")
	e.expect("1", "2")
	s.send(o.Address, "3")
	s.send(o.Address, "no JSON")
	s.do("POST", "/_gb/send", strings.Repeat(`{"to":"`+o.Address+`","body":4}`+"\n", 2)+`{"to":"`+asleep.Address+`","body":5}`+"\n{}\n", "Content-Type", "application/jsonl")
	s.mustSend(p.String(), `"for the process"`)
	s.expectMetrics(map[string]string{
		"genbrowser_mailboxes":                                           "2",
		"genbrowser_waiting_bytes":                                       fmt.Sprint(3 + len(`"for the process"`)),
		"genbrowser_streams":                                             "1",
		"genbrowser_shards_owned":                                        "64",
		"genbrowser_mailboxes_opened_total":                              "2",
		`genbrowser_messages_accepted_total{to="mailbox"}`:               "3",
		`genbrowser_messages_accepted_total{to="process"}`:               "1",
		`genbrowser_messages_delivered_total{to="process"}`:              "0",
		`genbrowser_messages_refused_total{reason="full"}`:               "3",
		`genbrowser_messages_refused_total{reason="malformed-json"}`:     "1",
		`genbrowser_messages_refused_total{reason="gone"}`:               "0",
		`genbrowser_messages_refused_total{reason="malformed-envelope"}`: "1",
		"genbrowser_log_stalled":                                         "none",
		"genbrowser_log_commit_seconds_count":                            "none",
		"genbrowser_cluster_nodes_heard":                                 "none",
	})
	until(t, "what the stream got is counted", func() bool { return s.metric(`genbrowser_messages_delivered_total{to="mailbox"}`) == "2" })
	close(release)
	until(t, "what the process did is counted", func() bool { return s.metric(`genbrowser_messages_delivered_total{to="process"}`) == "1" })
	if a := s.do("GET", "/_gb/mailbox?wait=1s", "", "Authorization", "Bearer "+asleep.Key, "Accept", "application/json"); !strings.Contains(a.body, `"body":5`) {
		t.Fatalf("the long-poll got %s", a.body)
	}
	if got := s.metric(`genbrowser_messages_delivered_total{to="mailbox"}`); got != "3" {
		t.Errorf("%s messages were delivered, want 3 with the long-poll's", got)
	}
	e.close()
	until(t, "the stream is gone", func() bool { return s.metric("genbrowser_streams") == "0" })
	if s.metric("go_goroutines") == "none" || s.metric("process_start_time_seconds") == "none" {
		t.Error("the numbers of Go, or of the process, are missing")
	}
}

// Whatever is answered with a problem is counted, once.
func TestRequestsRefused(t *testing.T) {
	for _, kind := range []string{"", "fast"} {
		s := serve(t, setup{kind: kind, web: Options{AllowedOrigins: []string{"https://ok.example"}}})
		o := s.open()
		s.do("GET", "/_gb/none", "")
		s.do("PUT", "/_gb/mailbox", "")
		s.do("POST", "/_gb/mailbox", "", "Origin", "https://elsewhere.example")
		s.do("POST", "/_gb/send/"+o.Address, "1", "Origin", "https://elsewhere.example")
		s.do("GET", "/_gb/mailbox", "", "Accept", "text/event-stream", "Authorization", "Bearer "+o.Address)
		s.send(o.Address, "no JSON")
		s.do("POST", "/_gb/send", "{}\n", "Content-Type", "application/jsonl")
		s.mustSend(o.Address, "1")
		s.expectMetrics(map[string]string{
			`genbrowser_requests_refused_total{reason="not-found"}`:          "1",
			`genbrowser_requests_refused_total{reason="method-not-allowed"}`: "1",
			`genbrowser_requests_refused_total{reason="origin-not-allowed"}`: "2",
			`genbrowser_requests_refused_total{reason="missing-right"}`:      "1",
			`genbrowser_requests_refused_total{reason="malformed-json"}`:     "1",
			`genbrowser_requests_refused_total{reason="malformed-envelope"}`: "0",
			`genbrowser_messages_refused_total{reason="origin-not-allowed"}`: "0",
		})
	}
}

// A gap is no message that was delivered.
func TestGapsAreNotDelivered(t *testing.T) {
	c := &chunk{}
	at := mailbox.Cursor{Seq: 3}
	c.gap("", 3, at)
	c.message("", 0, &mailbox.Message{Seq: 4, Body: []byte("4")})
	c.message("", 0, &mailbox.Message{Seq: 5, Body: []byte("5")})
	var got []int
	for _, e := range c.ends {
		got = append(got, e.messages)
	}
	if !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("messages up to each event: %v, want 0, 1, 2", got)
	}
	c.release()
	if c.messages != 0 {
		t.Error("a chunk that is used again begins with messages")
	}
}

// durable is a site whose mailboxes outlive it.
func durable(t *testing.T, s setup) *site {
	t.Helper()
	log, err := jetstream.Open(ctx, jetstream.Options{Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return serveStored(t, log, s)
}

// serveStored starts a site that keeps its mailboxes in a log, and ends with it.
func serveStored(t *testing.T, log mailbox.Log, s setup) *site {
	t.Helper()
	s.server.Log = log
	var office *server.Server
	t.Cleanup(func() { // after the site's end
		if err := office.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	site := serve(t, s)
	office = site.office
	return site
}

func TestMetricsOfALog(t *testing.T) {
	s := durable(t, setup{})
	o := s.open()
	before := s.metric("genbrowser_log_commit_seconds_count")
	s.mustSend(o.Address, "1")
	var count int
	fmt.Sscan(before, &count)
	s.expectMetrics(map[string]string{
		"genbrowser_log_commit_seconds_count":              fmt.Sprint(count + 1),
		`genbrowser_log_commit_seconds_bucket{le="+Inf"}`:  fmt.Sprint(count + 1),
		"genbrowser_log_commit_records_count":              fmt.Sprint(count + 1),
		`genbrowser_log_commit_records_bucket{le="1"}`:     fmt.Sprint(count + 1), // the claim, the mailbox, the message
		"genbrowser_log_commit_records_sum":                fmt.Sprint(count + 1),
		"genbrowser_log_stalled":                           "0",
		"genbrowser_log_stalls_total":                      "0",
		"genbrowser_log_replay_records":                    "1",
		"genbrowser_log_snapshots_total":                   "0",
		`genbrowser_messages_accepted_total{to="mailbox"}`: "1",
		"genbrowser_cluster_nodes_heard":                   "none",
	})
	var seconds, age float64
	fmt.Sscan(s.metric("genbrowser_log_commit_seconds_sum"), &seconds)
	fmt.Sscan(s.metric("genbrowser_log_lease_age_seconds"), &age)
	if seconds <= 0 || seconds > 60 || age <= 0 || age > 60 {
		t.Errorf("commits took %v s, the newest is of %v s ago", seconds, age)
	}
}

func TestHistogram(t *testing.T) {
	var got dto.Metric
	if err := histogram(commitRecordsDesc, &server.Distribution{Bounds: []int64{1, 10}, Counts: []int64{1, 2, 4}, Sum: 60}, 2).Write(&got); err != nil {
		t.Fatal(err)
	}
	h := got.Histogram
	if h.GetSampleCount() != 7 || h.GetSampleSum() != 30 || len(h.Bucket) != 2 {
		t.Fatalf("got %v, want 7 values, 30 in all, in 2 buckets", h)
	}
	for i, want := range []struct {
		bound float64
		count uint64
	}{{0.5, 1}, {5, 3}} {
		if b := h.Bucket[i]; b.GetUpperBound() != want.bound || b.GetCumulativeCount() != want.count {
			t.Errorf("bucket %d: %v, want %d up to %v", i, b, want.count, want.bound)
		}
	}
}

// The names are as Prometheus wants them, and docs/operating.md lists each, and no other.
func TestNamesOfMetrics(t *testing.T) {
	s := durable(t, setup{})
	body := s.do("GET", "/metrics", "").body
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "genbrowser_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	have := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (genbrowser_\S+)`).FindAllStringSubmatch(body, -1) {
		have[m[1]] = true
	}
	for _, n := range clusterNumbers {
		have[regexp.MustCompile(`genbrowser_\w+`).FindString(n.desc.String())] = true
	}
	text, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(genbrowser_\\w+)").FindAllStringSubmatch(string(text), -1) {
		listed[m[1]] = true
		if !have[m[1]] {
			t.Errorf("docs/operating.md lists %s, which there is not", m[1])
		}
	}
	for name := range have {
		if !listed[name] {
			t.Errorf("docs/operating.md lacks %s", name)
		}
	}
}
