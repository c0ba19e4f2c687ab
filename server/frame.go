package server

import (
	"encoding/binary"
	"errors"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/internal/pack"
	"github.com/genbrowser/genbrowser/mailbox"
)

// What nodes send each other: a beat, to all; or a packet, to one.
//
//	beat      isBeat JSON               shorter than what the Mesh can carry, whatever it tells
//	packet    isPacket number frame*
//
// Frames, with numbers as varints and byte strings after their length; a call is the number of its answer:
//
//	isAnswer       call error answer                    error = its place in remoteErrors, text
//	isPost         posts index seconds-to-live record   the record is an Appended one; its answer is part of an isPosted
//	isPosted       posts first count refused (index error)*  the posts from first on, of which so many were refused
//	isProcess      call name sender record              a Kept one
//	isOpen         call has-config:1 config                 answer: mailbox:16 epoch seq
//	isAck          call mailbox:16 epoch seq
//	isClose        call mailbox:16
//	isDescribe     call mailbox:16                      answer: has-config:1 config epoch seq
//	isSubscribe    call subscription mailbox:16 hold:1 has-cursor:1 epoch seq
//	                                                    answer: has-config:1 config epoch seq gap
//	isDelivered    subscription seq
//	isUnsubscribe  subscription
//	isPush         subscription number-of-items item*   item = missing and the seq of the last one, or 0 and a Kept record
//	isEnd          subscription error retry             retry = milliseconds, 0 but for ErrDisconnected
//	isWatch        call record                          a Watched, Unwatched, Followed or Unfollowed one
//	isExit         call mailbox:16 detail
//	isDisconnect   call mailbox:16 retry                retry = milliseconds; 0: the reader is not to come back
//	isProcessWatch  call name single:1 record           a Watched or Unwatched one, of a process of the sender's; call may
//	                                                    be 0: no answer is wanted
//	isWatchesAnew                                       the sender's watches of processes follow, all of them
//	isClaim        call name address                    whether the sender may register it
//	isUnregister   call name address                    the address may be empty
//	isNamed        name address now:1                   the sender keeps that name, and registered it just now, or before
//	isUnnamed      name                                 it does not any more
//	isNameless     mailbox:16                           has ended: the receiver keeps no names of it any more
//	isNamesAnew                                         the names that the sender keeps follow, all of them
//	isReset                                             a packet got lost: all calls and subscriptions end
//
//	sender = 0, or 1 remote:1 number-of-names name* 0, or the same and 1 uid gid pid
const (
	isBeat   = 'b'
	isPacket = 'p'

	isAnswer = iota
	isPost
	isProcess
	isOpen
	isAck
	isClose
	isDescribe
	isSubscribe
	isDelivered
	isUnsubscribe
	isPush
	isEnd
	isReset
	isWatch
	isExit
	isProcessWatch
	isWatchesAnew
	isDisconnect
	isPosted
	isClaim
	isUnregister
	isNamed
	isUnnamed
	isNameless
	isNamesAnew
	isResumed
)

// notSaid stands instead of a frame that says that all was ended.
const notSaid = 0

// beginsAnew reports whether a packet's frames come after the end of all that its node had asked before: something got lost
// there, or it heard that something got lost here.
func beginsAnew(frames []byte) bool {
	return len(frames) > 0 && (frames[0] == isReset || frames[0] == isResumed)
}

// noCall stands instead of the number of a call.
const noCall = 0

// remoteErrors are those that keep their meaning on the way from one node to another. Their places must not change.
var remoteErrors = []error{
	nil, errElsewhere, ErrUnavailable, ErrExpired, ErrClosed, ErrGone, ErrTakenOver, ErrFull, ErrRefused, ErrOverloaded,
	ErrShuttingDown, ErrMoved, mailbox.ErrFull, mailbox.ErrUnknownCursor, mailbox.ErrCursorAhead, ErrEnvelope,
	address.ErrInvalid, ErrExited, ErrReplied, address.ErrReply, mailbox.ErrWatched, ErrDisconnected,
	ErrNotConnected, ErrNameTaken, mailbox.ErrTooLarge, address.ErrExpired, address.ErrRight, address.ErrUnsupported,
	address.ErrType, address.ErrTooLarge, address.ErrMalformed, ErrName, ErrTTL, ErrCallFailed, ErrCallTimeout, ErrNotAMailbox,
	ErrTooManyMailboxes, mailbox.ErrEmptyBody, mailbox.ErrUTF8, mailbox.ErrMalformedJSON, mailbox.ErrMalformedCursor,
}

// remoteError is an error of another node.
type remoteError struct {
	is   error
	text string
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }

// unknownError stands for an error that is not in remoteErrors.
const unknownError = 255

func appendError(b []byte, err error) []byte {
	if err == nil {
		return append(b, 0)
	}
	place := byte(unknownError)
	for i, known := range remoteErrors {
		if known != nil && errors.Is(err, known) {
			place = byte(i)
			break
		}
	}
	return pack.AppendString(append(b, place), err.Error())
}

func readError(r *pack.Reader) error {
	place := int(r.Byte())
	if place == 0 {
		return nil
	}
	err := &remoteError{text: r.String()}
	if place < len(remoteErrors) {
		err.is = remoteErrors[place]
	}
	return err
}

func appendCursor(b []byte, c mailbox.Cursor) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(c.Epoch)), c.Seq)
}

func readCursor(r *pack.Reader) mailbox.Cursor {
	return mailbox.Cursor{Epoch: uint32(r.UpTo(1<<32 - 1)), Seq: r.Uint()}
}

func readID(r *pack.Reader) (id uuid.UUID) {
	copy(id[:], r.Bytes(uint64(len(id))))
	return id
}

func appendConfig(b, config []byte) []byte {
	return pack.AppendString(pack.AppendFlag(b, config != nil), config)
}

func readConfig(r *pack.Reader) []byte {
	has := r.Flag()
	config := r.Bytes(r.Uint())
	if !has {
		return nil
	}
	return config
}

func readRecord(r *pack.Reader) mailbox.Record {
	record, rest, err := mailbox.ParseRecord(r.Rest)
	if err != nil {
		r.Fail()
		return record
	}
	r.Rest = rest
	return record
}
