package aws

import (
	"context"
	"fmt"

	"github.com/aws/smithy-go/middleware"
)

// lateError is the error of a call that ran into its caller's deadline while it was
// tried again, with what the service had said to the try before. The SDK forgets that.
// It does not unwrap to the refusal: an earlier try may have taken effect.
type lateError struct {
	err  error
	last Refusal
}

func (e *lateError) Error() string { return e.err.Error() }

func (e *lateError) Unwrap() error { return e.err }

type lastKey struct{}

// keepLast makes calls that end late say why they were tried again.
func keepLast(stack *middleware.Stack) error {
	whole := middleware.InitializeMiddlewareFunc("KeepLastRefusal", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
		var last Refusal
		out, meta, err := next.HandleInitialize(middleware.WithStackValue(ctx, lastKey{}, &last), in)
		if err != nil && ctx.Err() != nil && last.Code != "" {
			err = &lateError{err, last}
		}
		return out, meta, err
	})
	try := middleware.FinalizeMiddlewareFunc("NoteRefusal", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
		out, meta, err := next.HandleFinalize(ctx, in)
		if last, is := middleware.GetStackValue(ctx, lastKey{}).(*Refusal); is && err != nil && ctx.Err() == nil {
			*last = refusalOf(err)
		}
		return out, meta, err
	})
	if err := stack.Initialize.Add(whole, middleware.Before); err != nil {
		return fmt.Errorf("keep the refusals of %s: %w", stack.ID(), err)
	}
	if err := stack.Finalize.Insert(try, "Retry", middleware.After); err != nil {
		return fmt.Errorf("keep the refusals of %s: %w", stack.ID(), err)
	}
	return nil
}
