package client

import (
	"bytes"
	"fmt"
	"io"
)

// readSize is how much is read of a stream at once.
const readSize = 4096

// wholeEvents withholds an event until the empty line that ends it has come, so that one that was cut off is
// never seen. Our servers end lines with LF alone.
type wholeEvents struct {
	io.ReadCloser
	watch *watchdog
	most  int    // bytes of an event
	buf   []byte // read; up to whole it may be handed on
	whole int
	err   error
}

// Read implements [io.Reader].
func (w *wholeEvents) Read(p []byte) (int, error) {
	for w.whole == 0 {
		if w.err != nil {
			return 0, w.err
		}
		w.fill()
	}
	n := copy(p, w.buf[:w.whole])
	w.buf = w.buf[n:]
	w.whole -= n
	return n, nil
}

// fill reads once more, and finds out how much is whole.
func (w *wholeEvents) fill() {
	var chunk [readSize]byte
	w.watch.begin()
	n, err := w.ReadCloser.Read(chunk[:])
	w.watch.end()
	w.err = err
	from := max(0, len(w.buf)-1) // the first half of the end may be there
	w.buf = append(w.buf, chunk[:n]...)
	if i := bytes.LastIndex(w.buf[from:], []byte("\n\n")); i >= 0 {
		w.whole = from + i + 2
	} else if len(w.buf) > w.most {
		w.err = fmt.Errorf("%w: an event is longer than Options.MaxEvent, %d bytes", errProtocol, w.most)
	}
}
