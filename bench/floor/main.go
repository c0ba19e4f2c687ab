// Command floor is the least a Go net/http server can do for a one-to-one SSE mailbox: it is the
// yardstick that the real servers are held against, with no signing, validation, routing or resume.
package main

import (
	"flag"
	"io"
	"net/http"
	"sync"
)

type box struct {
	mu   sync.Mutex
	out  []byte
	wake chan struct{}
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8090", "")
	flag.Parse()
	var boxes sync.Map
	get := func(id string) *box {
		if b, ok := boxes.Load(id); ok {
			return b.(*box)
		}
		b, _ := boxes.LoadOrStore(id, &box{wake: make(chan struct{}, 1)})
		return b.(*box)
	}
	http.HandleFunc("/mailbox", func(w http.ResponseWriter, r *http.Request) {
		b := get(r.URL.Query().Get("id"))
		w.Header().Set("Content-Type", "text/event-stream")
		rc := http.NewResponseController(w)
		w.WriteHeader(200)
		rc.Flush()
		for {
			select {
			case <-r.Context().Done():
				return
			case <-b.wake:
				b.mu.Lock()
				out := b.out
				b.out = nil
				b.mu.Unlock()
				w.Write(out)
				rc.Flush()
			}
		}
	})
	http.HandleFunc("/send", func(w http.ResponseWriter, r *http.Request) {
		b := get(r.URL.Query().Get("id"))
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		b.mu.Lock()
		b.out = append(append(append(b.out, "data: "...), body...), "\n\n"...)
		b.mu.Unlock()
		select {
		case b.wake <- struct{}{}:
		default:
		}
		w.WriteHeader(202)
	})
	http.ListenAndServe(*addr, nil)
}
