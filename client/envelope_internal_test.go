package client

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
)

var envelopes = []string{
	`{"kind":"reply","ref":"r","body":{"a":[1,"x"]}}`, `{"body":null}`, `{"body":1,"kind":"call"}`, `{"ref":"r"}`, `{}`, ``, `[]`, `1`,
	`{"kind":"reply","body":1,"via":["a"]}`, `{"kind":"r\u0065ply","body":1}`, `{"body":1}x`, `{"body":1,}`, `{"body":}`, `{"body":tru}`,
	`{"reply":"gba_AfoBD4-tW9nLRp-hZXCGdyiVDgEBD1Xls4V6dwkoh4FS4kyqDXY","kind":"call","ref":"1","body":"é"}`, `{"reply":"x","body":1}`,
	`{"trace":"t","body":1,"new":2}`, `{"kind":1,"body":1}`, `{"body":1,"body":2}`, `{ "body" : 1 }`, `{"kind":"","body":1}`, `{"ref":null,"body":1}`,
}

// FuzzEnvelope holds that the fast way to read an envelope says what the slow one does, whenever it says anything.
func FuzzEnvelope(f *testing.F) {
	for _, e := range envelopes {
		f.Add([]byte(e))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, ok := plainEnvelope(data)
		if !ok {
			return
		}
		want := Message{Kind: "message"}
		if err := json.Unmarshal(data, &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q is read as %+v, want %+v, %v", data, got, want, err)
		}
	})
}

func TestPlainEnvelopes(t *testing.T) {
	for i, want := range map[int]bool{0: true, 1: true, 2: true, 3: false, 8: false, 9: false, 14: true} {
		if _, ok := plainEnvelope([]byte(envelopes[i])); ok != want {
			t.Errorf("%s is plain: %v, want %v", envelopes[i], ok, want)
		}
	}
}

// FuzzLine holds that a line says what its message does, whatever its texts are.
func FuzzLine(f *testing.F) {
	f.Add("id", "call", "ref", "trace", int64(time.Second), "body")
	f.Add(`"\`, "\n", "é", "\xff", int64(-1), "<&>\u2028")
	f.Fuzz(func(t *testing.T, id, kind, ref, trace string, ttl int64, body string) {
		to, err := address.Parse("gba_AfoBD4-tW9nLRp-hZXCGdyiVDgEBD1Xls4V6dwkoh4FS4kyqDXY")
		if err != nil {
			t.Fatal(err)
		}
		o := Outgoing{To: to, Body: []string{body}, ID: id, Kind: kind, Ref: ref, Reply: to, TTL: time.Duration(ttl), Trace: trace}
		line, err := o.line()
		if err != nil || line[len(line)-1] != '\n' {
			t.Fatalf("%q, %v", line, err)
		}
		type members struct {
			To, ID, Kind, Ref, Reply, Trace string
			TTL                             int64
			Body                            []string
		}
		var got members
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		seconds := int64((time.Duration(ttl) + time.Second - 1) / time.Second)
		if ttl < 0 {
			seconds = -1
		}
		valid := func(s string) (out string) {
			text, _ := json.Marshal(s)
			json.Unmarshal(text, &out)
			return out
		}
		want := members{to.String(), valid(id), valid(kind), valid(ref), to.String(), valid(trace), seconds, []string{valid(body)}}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q says %+v, want %+v", line, got, want)
		}
	})
}
