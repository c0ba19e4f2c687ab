// Command standalone is a Go program with a GenBrowser server inside: a page of its own, a process that the page
// talks to, and a session check before anybody gets a mailbox.
//
//	SECRET=$(go run ./cmd/genbrowser key new) go run ./examples/standalone localhost:8000
//
// Two windows of the page share one guest book: what one signs, every window sees.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web"
)

//go:embed page.html
var page []byte

// entry is the message that the guest book takes. What does not decode into it, or does not validate, is refused:
// its sender gets 422 with the reason, and sign never sees it.
type entry struct {
	Text string          `json:"text"`
	From address.Address `json:"from"` // where to write back to
}

// Validate runs while the sender waits for the answer.
func (e *entry) Validate() error {
	if e.Text == "" || len(e.Text) > 280 {
		return errors.New(`"text": want 1 to 280 bytes`)
	}
	if e.From.IsZero() {
		return errors.New(`"from": want the address to write back to`)
	}
	return nil
}

// book is the state of a process. It needs no lock, for a process handles one message at a time.
type book struct {
	office  *server.Server
	readers map[address.Address]bool
}

// sign sends the text to everybody who signed before. Whose mailbox is gone is forgotten.
func (b *book) sign(ctx context.Context, e entry, _ server.Message) error {
	b.readers[e.From] = true
	for reader := range b.readers {
		if err := b.office.Send(ctx, reader, map[string]string{"text": e.Text}); err != nil {
			delete(b.readers, reader)
		}
	}
	return nil
}

// session decides who gets a mailbox: here, whoever loaded the page, which sets the cookie. A real one looks the
// session up, and may return a config for this client alone; nil is the server's.
func session(r *http.Request) (config any, err error) {
	if _, err := r.Cookie("session"); err != nil {
		return nil, errors.New("load the page first")
	}
	return nil, nil
}

func run(ctx context.Context, listen string) error {
	keys, err := address.NewRing([]byte(os.Getenv("SECRET")))
	if err != nil {
		return err
	}
	office, err := server.New(server.Options{Keys: keys})
	if err != nil {
		return err
	}
	b := &book{office, make(map[address.Address]bool)}
	guestbook, err := office.Handle("guestbook", server.Typed(b.sign))
	if err != nil {
		return err
	}
	// Every client finds this in its config: addresses travel as what they are, text.
	if err := office.SetConfig(map[string]address.Address{"guestbook": guestbook}); err != nil {
		return err
	}
	gb, err := web.New(web.Options{Server: office, Open: session})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/_gb/", gb)
	mux.Handle("/.well-known/gen-browser", gb)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "guest", Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		w.Write(page)
	})
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Printf("http://%v\n", l.Addr())
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go srv.Serve(l)
	<-ctx.Done()
	grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(gb.Shutdown(grace), srv.Shutdown(grace)) // the streams first: they tell when to come back
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) != 2 {
		log.Fatal("usage: SECRET=… standalone HOST:PORT")
	}
	if err := run(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}
