package server

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// TestRemoteErrorsAreComplete: what the wire has a problem for is that problem, too, when another node says it.
func TestRemoteErrorsAreComplete(t *testing.T) {
	remote := make(map[string]bool)
	for _, name := range errorsIn(t, "frame.go", "remoteErrors") {
		remote[name] = true
	}
	wire := errorsIn(t, "../web/problem.go", "kinds")
	if len(wire) == 0 {
		t.Error("web's table of problems has no errors")
	}
	for _, name := range wire {
		if !remote[name] {
			t.Errorf("remoteErrors lacks %s: from another node it would be told as a fault of ours", name)
		}
	}
}

// errorsIn returns the errors in a table of a file, with their packages.
func errorsIn(t *testing.T, file, table string) (names []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	add := func(pkg, name string) {
		if strings.HasPrefix(name, "Err") {
			names = append(names, pkg+"."+name)
		}
	}
	inTable := func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			add(n.X.(*ast.Ident).Name, n.Sel.Name)
			return false
		case *ast.Ident:
			add(f.Name.Name, n.Name)
		}
		return true
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && spec.Names[0].Name == table {
			ast.Inspect(spec.Values[0], inTable)
			return false
		}
		return true
	})
	return names
}

// TestRefusedByAnotherNode: why another node refuses an address is told as if it were refused here.
func TestRefusedByAnotherNode(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	handle(t, b.Server, "only", HandlerFunc(nothing))
	awaitProcess(t, a, "only", 1)
	m := open(t, a.Server)
	for what, c := range map[string]struct {
		reply address.Address
		want  error
	}{
		"expired":    {narrowed(t, m.Address, address.Expires(time.Now().Add(-time.Minute)), address.Reply("r")), address.ErrExpired},
		"no right":   {narrowed(t, m.Address, address.Only(address.Monitor), address.Reply("r")), address.ErrRight},
		"too large":  {narrowed(t, m.Address, address.MaxBytes(1), address.Reply("r")), address.ErrTooLarge},
		"no address": {address.Address{}, address.ErrMalformed},
	} {
		meta := &mailbox.Meta{Kind: mailbox.KindMonitor, Ref: "r", Reply: c.reply.String()}
		msg := mailbox.Message{Body: []byte("null"), Meta: meta}
		_, err := a.cluster.haveProcess("only")[0].toProcess(nil, "only", msg, mailbox.NameHash{}).wait()
		if !errors.Is(err, c.want) {
			t.Errorf("%s: a monitor = %v, want %v", what, err, c.want)
		}
	}
}
