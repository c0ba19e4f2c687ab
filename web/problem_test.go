package web

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// Every error that the domain exports has its place in the table; one that had none would be told as a fault of ours.
func TestTableIsComplete(t *testing.T) {
	never := map[string]string{
		"mailbox.ErrClosed":  "the server says server.ErrClosed before",
		"mailbox.ErrRecord":  "a log that is damaged is told to who starts the server",
		"mailbox.ErrDamaged": "as above",
		"mailbox.ErrSealed":  "the server steps back from what it owned",
		"mailbox.ErrLost":    "is told to servers only",
		"mailbox.ErrTrimmed": "is told to servers only",
		"mailbox.ErrNotLast": "is told to servers only",
	}
	inTable := 0
	for _, pkg := range []string{"address", "mailbox", "server"} {
		files, err := filepath.Glob("../" + pkg + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("no files of %s: %v", pkg, err)
		}
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				spec, ok := n.(*ast.ValueSpec)
				if !ok {
					return true
				}
				for _, name := range spec.Names {
					if strings.HasPrefix(name.Name, "Err") && never[pkg+"."+name.Name] == "" {
						inTable++
					}
				}
				return true
			})
		}
	}
	if inTable != len(kinds) {
		t.Errorf("the domain exports %d errors for the wire, the table has %d", inTable, len(kinds))
	}
}

func TestToProblem(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want *problem.Kind
	}{
		{fmt.Errorf("%w: %w", server.ErrRefused, address.ErrExpired), problem.Refused}, // what a validator says is not ours
		{fmt.Errorf("%w: reply: %w", server.ErrEnvelope, address.ErrMalformed), problem.MalformedEnvelope},
		{fmt.Errorf("x: %w", &problem.Problem{Kind: problem.Full}), problem.Full},
		{mailbox.ErrFull, problem.Full},
		{errors.New("a secret"), problem.Internal},
	} {
		p := toProblem(tt.err)
		if p.Kind != tt.want || strings.Contains(p.Detail, "secret") {
			t.Errorf("toProblem(%v) = %v", tt.err, p)
		}
	}
}
