package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/genbrowser/genbrowser/mailbox"
)

// streamInfo is the part of JetStream's that a log needs.
type streamInfo struct {
	Config  streamConfig `json:"config"`
	Cluster *peers       `json:"cluster"`
	State   struct {
		Messages uint64            `json:"messages"`
		Bytes    uint64            `json:"bytes"`
		First    uint64            `json:"first_seq"`
		Last     uint64            `json:"last_seq"`
		Missing  int               `json:"num_deleted"`
		Subjects map[string]uint64 `json:"subjects"`
		Lost     *struct {
			Messages []uint64 `json:"msgs"`
		} `json:"lost"`
	} `json:"state"`
}

// streamConfig is what a log demands of its stream. What an administrator sets beyond it stays as it is.
type streamConfig struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Subjects    []string `json:"subjects"`
	Retention   string   `json:"retention"`
	Storage     string   `json:"storage"`
	Discard     string   `json:"discard"`
	Replicas    int      `json:"num_replicas"`
	MaxBytes    int64    `json:"max_bytes"`
	MaxAge      int64    `json:"max_age"`
	MaxMessages int64    `json:"max_msgs"`
	MaxPerLane  int64    `json:"max_msgs_per_subject"`
	AllowDirect bool     `json:"allow_direct"`
	DenyDelete  bool     `json:"deny_delete"`
	Sealed      bool     `json:"sealed,omitempty"`
}

func (o Options) stream(replicas int) streamConfig {
	c := streamConfig{
		Name: o.Name, Subjects: []string{o.Name + ".log.*"}, Description: "what genbrowser must remember",
		Retention: "limits", Storage: "file", Discard: "new", Replicas: replicas,
		MaxBytes: -1, MaxMessages: -1, MaxPerLane: -1, AllowDirect: true, DenyDelete: true,
	}
	if o.MaxBytes > 0 {
		c.MaxBytes = o.MaxBytes
	}
	return c
}

// findStream checks the log's stream, or makes it.
func (l *Log) findStream(ctx context.Context, options Options) error {
	info, err := l.info(ctx, "")
	if is(err, streamNotFound) {
		info, err = l.makeStream(ctx, options)
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", l.name, err)
	}
	if err := options.fits(info.Config); err != nil {
		return fmt.Errorf("stream %s: %w", l.name, err)
	}
	l.found = info.State.Last
	l.begun, l.began = true, info.State.Last
	if err := l.reopen(options); err != nil {
		return err
	}
	l.reportLoss(info)
	return nil
}

func (l *Log) makeStream(ctx context.Context, options Options) (streamInfo, error) {
	replicas := options.Replicas
	switch {
	case replicas > 0:
	case options.Cluster != nil:
		replicas = options.Cluster.replicas()
	case l.conn.ConnectedClusterName() != "":
		replicas = 3
	default:
		replicas = 1
	}
	var info streamInfo
	err := l.retryPeers(ctx, options, func() error {
		return l.call(ctx, "STREAM.CREATE."+l.name, options.stream(replicas), &info)
	})
	if is(err, noSuitablePeers) || is(err, replicasNotSupported) {
		err = fmt.Errorf("%w: it would have %d replicas, which needs as many servers; fewer can be asked for", err, replicas)
	}
	if is(err, streamNameInUse) { // another node was quicker, and has other options
		return l.info(ctx, "")
	}
	return info, err
}

// retryPeers waits for the nodes of our own cluster, which come one by one. Elsewhere there either are enough
// servers or not.
func (l *Log) retryPeers(ctx context.Context, options Options, f func() error) error {
	for try := 0; ; try++ {
		err := f()
		if options.Cluster == nil || !is(err, noSuitablePeers) && !is(err, insufficientResources) {
			return err
		}
		if stop := l.pause(ctx, try); stop != nil {
			return fmt.Errorf("%w: %w", stop, err)
		}
	}
}

// fits refuses a stream that would forget entries, or is somebody else's.
func (o Options) fits(have streamConfig) error {
	want := o.stream(have.Replicas)
	switch {
	case !slices.Equal(have.Subjects, want.Subjects):
		return fmt.Errorf("it has the subjects %q, and is not a log of ours: want %q", have.Subjects, want.Subjects)
	case have.Storage != want.Storage, have.Retention != want.Retention, have.Discard != want.Discard:
		return fmt.Errorf("it has storage %s, retention %s and discards %s messages: want %s, %s and %s",
			have.Storage, have.Retention, have.Discard, want.Storage, want.Retention, want.Discard)
	case have.MaxAge != 0 || have.MaxPerLane > 0:
		return errors.New("it forgets messages by age or number per subject: want no such limit")
	case !have.AllowDirect:
		return errors.New("it does not allow direct access: want allow_direct")
	case have.Sealed:
		return errors.New("it is sealed, and takes no message any more")
	case o.Replicas > 0 && have.Replicas != o.Replicas:
		return fmt.Errorf("it has %d replicas: want %d (nats stream edit changes it)", have.Replicas, o.Replicas)
	case o.MaxBytes > 0 && have.MaxBytes != o.MaxBytes:
		return fmt.Errorf("it may hold %d bytes: want %d (nats stream edit changes it)", have.MaxBytes, o.MaxBytes)
	}
	return nil
}

// reportLoss tells of holes: only Trim takes something from a log, and only from its beginning.
func (l *Log) reportLoss(info streamInfo) {
	missing := uint64(info.State.Missing)
	if info.State.Lost != nil {
		missing += uint64(len(info.State.Lost.Messages))
	}
	if first, last := l.LostAtEnd(); last > 0 {
		l.logger.Error("entries at the end of the log are lost", "stream", l.name, "missing", last+1-first,
			"first", first, "last", last)
	}
	if missing > 0 {
		l.logger.Error("entries inside the log are lost", "stream", l.name, "missing", missing,
			"first", info.State.First, "last", info.State.Last)
	}
}

func (l *Log) info(ctx context.Context, subjects string) (streamInfo, error) {
	var info streamInfo
	request := struct {
		Subjects string `json:"subjects_filter,omitempty"`
	}{subjects}
	err := l.call(ctx, "STREAM.INFO."+l.name, request, &info)
	return info, err
}

// Stats implements [mailbox.Log].
func (l *Log) Stats(ctx context.Context) (mailbox.LogStats, error) {
	info, err := l.info(ctx, "")
	if err != nil {
		return mailbox.LogStats{}, fmt.Errorf("stats of the log: %w", err)
	}
	s := info.State
	if s.Messages == 0 {
		s.First = s.Last + 1
	}
	return mailbox.LogStats{First: s.First, Last: s.Last, Entries: s.Messages, Bytes: s.Bytes}, nil
}

func is(err error, code int) bool {
	var api *apiError
	return errors.As(err, &api) && api.ErrCode == code
}
