package web

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/web/problem"
)

const (
	// maxAnswers is how many bytes of answers are kept to be written together.
	maxAnswers = 16 << 10
	// lateBy is how long an answer that may be late waits for others.
	lateBy = 20 * time.Millisecond
	// maxLate is how many of those wait together.
	maxLate = 32
)

// answers are those to the lines of an upload, until they are written: when the upload has no more lines at hand, or a
// little later if all may wait.
type answers struct {
	// while the request is served
	h  *Handler
	w  http.ResponseWriter
	rc *http.ResponseController

	mu     sync.Mutex
	out    []byte
	brief  bool        // nothing is to be said if all were accepted
	said   bool        // some were written, or must be
	urgent bool        // one of them waits for nothing
	late   int         // how many of them may wait
	due    time.Time   // when the first of those has waited long enough
	timer  *time.Timer // for that; nil until there was one
	failed bool        // the sender takes no more
}

// begin readies the answers for a request. A timer of an earlier one may still look at them, to no harm.
func (a *answers) begin(h *Handler, w http.ResponseWriter, rc *http.ResponseController, brief bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.h, a.w, a.rc, a.brief, a.said = h, w, rc, brief, false
}

func (a *answers) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer != nil {
		a.timer.Stop()
	}
	a.h, a.w, a.rc, a.timer = nil, nil, nil, nil
	a.out, a.urgent, a.late, a.due, a.failed = a.out[:0], false, 0, time.Time{}, false
}

// add adds the answer to a line: accepted, or the problem of err, which does not wait.
func (a *answers) add(id string, late bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.out) >= maxAnswers {
		a.flush()
	}
	if a.failed {
		if err != nil {
			a.h.refusedLine(id, err) // which counts it
		}
		return
	}
	switch {
	case err != nil:
		a.urgent, a.said = true, true
		a.out = append(append(a.out, a.h.refusedLine(id, err)...), '\n')
		return
	case id == "":
		a.out = append(a.out, '{')
	default:
		a.out = appendMember(append(a.out, '{'), "id", id)
	}
	a.out = append(a.out, `"status":202}`+"\n"...)
	if late {
		a.late++
	} else {
		a.urgent = true
	}
}

// refusedLine is the problem of a line.
func (h *Handler) refusedLine(id string, err error) []byte {
	p := toProblem(err)
	h.tally.refused.add(p.Kind)
	if p.Kind == problem.Internal {
		h.log.Error("message failed", "error", err)
	}
	m := p.Members()
	m.ID = id
	text, err := json.Marshal(m)
	if err != nil {
		panic(err) // our own type
	}
	return text
}

// settled writes what should not wait for more lines, and reports whether the sender still takes answers. One that
// sends without an end may wait for them.
func (a *answers) settled(endless bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.out) >= maxAnswers || endless && (a.urgent || a.late >= maxLate) {
		a.flush()
	} else if endless && a.late > 0 && a.due.IsZero() {
		a.due = time.Now().Add(lateBy)
		if a.timer == nil {
			a.timer = time.AfterFunc(lateBy, a.overdue)
		} else {
			a.timer.Reset(lateBy)
		}
	}
	return !a.failed
}

// overdue writes answers that have waited long enough.
func (a *answers) overdue() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.late == 0 {
		return
	}
	if wait := time.Until(a.due); wait > 0 {
		a.timer.Reset(wait)
		return
	}
	a.flush()
}

// writeAll writes all that there is.
func (a *answers) writeAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flush()
}

// finish writes all that there is to a request that ends now, or that there is nothing to say. It does not flush: net/http
// writes the end of the answer together with it.
func (a *answers) finish() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed {
		return
	}
	a.rc.SetWriteDeadline(time.Now().Add(a.h.slow))
	if a.brief && !a.said {
		a.w.Header().Del("Content-Type")
		a.w.WriteHeader(http.StatusNoContent)
	} else {
		a.w.Write(a.out)
	}
	a.out = a.out[:0]
}

// flush must be called with mu held. A sender that writes and does not read would stay for ever.
func (a *answers) flush() {
	if len(a.out) == 0 || a.failed {
		return
	}
	a.said = true
	a.rc.SetWriteDeadline(time.Now().Add(a.h.slow))
	defer a.rc.SetWriteDeadline(time.Time{}) // HTTP/2 ends a stream whose deadline passes while it is idle
	_, err := a.w.Write(a.out)
	if err == nil {
		err = a.rc.Flush()
	}
	a.out, a.urgent, a.late, a.due, a.failed = a.out[:0], false, 0, time.Time{}, err != nil
}
