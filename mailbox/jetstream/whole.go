package jetstream

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/genbrowser/genbrowser/mailbox"
)

// checkWhole is for a cluster's node, which gets from the others what is missing at the end of its log, and nothing that is missing
// before: nobody would know until it leads, and then all would have a log with a hole. It is called before anything comes from the
// others, and after the server cut off what it can't read.
func (e *embedded) checkWhole(o Options) error {
	files, err := e.dir.files(e.log, "*.blk")
	if err != nil || o.Cluster == nil {
		return err
	}
	slices.SortFunc(files, byNumber)
	last := uint64(0)
	for _, file := range files {
		records, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) { // all of it was trimmed just now
			continue
		}
		if err != nil {
			return err
		}
		for place := range places(records) {
			if last != 0 && place > last+2 { // one alone is an entry whose write was broken off
				return fmt.Errorf("%w: entries %d to %d are missing, before %s; if the other nodes have them, delete %s, and start again: they fill it",
					mailbox.ErrDamaged, last+1, place-1, file, o.Dir)
			}
			last = place
		}
	}
	return nil
}
