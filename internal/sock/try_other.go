//go:build !unix

package sock

import "errors"

// CanTry says whether there are TryRead and TryWrite.
const CanTry = false

func TryRead(uintptr, []byte) (n int, again bool, err error) { return 0, false, errors.ErrUnsupported }

func TryWrite(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
