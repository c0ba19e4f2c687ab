package address

import (
	"testing"
	"time"

	"github.com/google/uuid"
)

// BenchmarkVerify is an address that is used again and again, and addresses that come seldom.
func BenchmarkVerify(b *testing.B) {
	for _, c := range []struct {
		name  string
		texts int
	}{{"again", 1}, {"seldom", 1 << 17}} {
		b.Run(c.name, func(b *testing.B) {
			ring := testRing(b, secretA)
			texts := make([]string, c.texts)
			for i := range texts {
				addr, err := ring.MailboxKey(uuid.New()).Address()
				if err != nil {
					b.Fatal(err)
				}
				texts[i] = addr.String()
			}
			b.ReportAllocs()
			var g Grant
			for i := 0; b.Loop(); i++ {
				if err := ring.Verify(&g, texts[i%len(texts)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPermit is what follows once an address is verified.
func BenchmarkPermit(b *testing.B) {
	ring := testRing(b, secretA)
	addr, err := ring.MailboxKey(uuid.New()).Address()
	if err != nil {
		b.Fatal(err)
	}
	var g Grant
	if err := ring.Verify(&g, addr.String()); err != nil {
		b.Fatal(err)
	}
	now, body := time.Now(), []byte(`{"type":"ping"}`)
	b.ReportAllocs()
	for b.Loop() {
		if g.Permit(Send, now) != nil || g.PermitBody(body) != nil {
			b.Fatal()
		}
	}
}

// BenchmarkMint is the key and the address of a new mailbox.
func BenchmarkMint(b *testing.B) {
	ring := testRing(b, secretA)
	id := uuid.New()
	b.ReportAllocs()
	for b.Loop() {
		ring.Mailbox(id)
	}
}
