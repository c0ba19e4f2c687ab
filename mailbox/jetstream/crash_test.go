package jetstream

import (
	"context"
	"fmt"
	"os"
)

const childDir = "GENBROWSER_TEST_LOG_DIR"

// appendForEver is what the child process does: it prints each number that it stored.
func appendForEver(dir string) {
	l, err := Open(context.Background(), Options{Dir: dir, Logger: quiet})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for n := 0; ; n++ {
		entry := fmt.Sprintf("%d.%d", os.Getpid(), n)
		if _, err := l.Append(context.Background(), []byte(entry)); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println(entry)
	}
}
