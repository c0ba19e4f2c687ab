package jetstream

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
)

// serverLog hands the lines of the embedded server on. Its notices are for those who run a NATS; here they are
// details.
type serverLog struct {
	to        *slog.Logger
	onTrouble func(string)
	fatal     atomic.Pointer[string] // why the server could not start
	misfit    atomic.Int64           // when it was last said that a node does not fit, in Unix nanoseconds
}

// misfitEvery is how often that is said. The server says it several times a second, and not what to do.
const misfitEvery = 10 * time.Second

func (l *serverLog) Noticef(format string, v ...any) { l.log(slog.LevelDebug, format, v) }
func (l *serverLog) Warnf(format string, v ...any)   { l.log(slog.LevelWarn, format, v) }
func (l *serverLog) Errorf(format string, v ...any)  { l.log(slog.LevelError, format, v) }
func (l *serverLog) Debugf(format string, v ...any)  { l.log(slog.LevelDebug, format, v) }
func (l *serverLog) Tracef(format string, v ...any)  { l.log(slog.LevelDebug, format, v) }

func (l *serverLog) Fatalf(format string, v ...any) {
	reason := l.log(slog.LevelError, format, v)
	l.fatal.CompareAndSwap(nil, &reason)
}

func (l *serverLog) log(level slog.Level, format string, v []any) string {
	line := strings.TrimSpace(fmt.Sprintf(format, v...))
	if what := aboutMisfit(line); what != "" {
		level = slog.LevelDebug
		l.warnOfMisfit(what, line)
	}
	l.to.Log(context.Background(), level, line, "from", "nats-server")
	if level >= slog.LevelWarn && aboutStore(line) {
		l.onTrouble(line)
	}
	return line
}

func (l *serverLog) warnOfMisfit(what, line string) {
	now, last := time.Now().UnixNano(), l.misfit.Load()
	if now-last >= int64(misfitEvery) && l.misfit.CompareAndSwap(last, now) {
		l.to.Error("a node is not let in, or does not let this one in: all need the same "+what, "detail", line)
	}
}

// aboutMisfit recognizes the lines by which the server says that another node is not of its cluster, and returns what that
// has to have in common with this one.
func aboutMisfit(line string) string {
	switch {
	case strings.Contains(line, "Authorization Violation"), strings.Contains(line, "authentication error"):
		return "user and password (of genbrowser: SECRET, or GENBROWSER_CLUSTER_SECRET)"
	case strings.Contains(line, "cluster name"):
		return "cluster name"
	}
	return ""
}

// aboutStore recognizes the lines by which the server says that it can't store.
func aboutStore(line string) bool {
	for _, words := range []string{"failed to store", "no space left", "out of space", "disabling JetStream", "DISABLED"} {
		if strings.Contains(line, words) {
			return true
		}
	}
	return false
}
