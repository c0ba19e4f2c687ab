package jetstream

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
)

// serverLog hands the lines of the embedded server on. Its notices are for those who run a NATS; here they are
// details.
type serverLog struct {
	to        *slog.Logger
	onTrouble func(string)
	fatal     atomic.Pointer[string] // why the server could not start
}

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
	l.to.Log(context.Background(), level, line, "from", "nats-server")
	if level >= slog.LevelWarn && aboutStore(line) {
		l.onTrouble(line)
	}
	return line
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
