// Package pack puts numbers and byte strings into bytes and takes them out again: numbers as varints
// (encoding/binary), byte strings after their length.
package pack

import "encoding/binary"

// AppendString appends s after its length.
func AppendString[S ~string | ~[]byte](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// AppendFlag appends 1 if it is set, else 0.
func AppendFlag(b []byte, set bool) []byte {
	if set {
		return append(b, 1)
	}
	return append(b, 0)
}

// Reader takes values from the beginning of Rest, and zero values once it failed: whoever reads checks Failed at
// the end.
type Reader struct {
	Rest   []byte
	Failed bool
}

// Fail says that what was read makes no sense.
func (r *Reader) Fail() { r.Failed, r.Rest = true, nil }

// Byte takes one byte.
func (r *Reader) Byte() byte {
	if b := r.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// Flag takes one byte that is 0 or not.
func (r *Reader) Flag() bool { return r.Byte() != 0 }

// Uint takes a number.
func (r *Reader) Uint() uint64 {
	v, n := binary.Uvarint(r.Rest)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.Rest = r.Rest[n:]
	return v
}

// UpTo takes a number that is at most most.
func (r *Reader) UpTo(most uint64) uint64 {
	v := r.Uint()
	if v > most {
		r.Fail()
		return 0
	}
	return v
}

// Bytes takes n bytes, which stay a part of what is read.
func (r *Reader) Bytes(n uint64) []byte {
	if n > uint64(len(r.Rest)) {
		r.Fail()
		return nil
	}
	b := r.Rest[:n:n]
	r.Rest = r.Rest[n:]
	return b
}

// String takes a byte string as a string.
func (r *Reader) String() string { return string(r.Bytes(r.Uint())) }
