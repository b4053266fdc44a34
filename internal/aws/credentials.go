package aws

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/logging"
)

func (a *Account) checkCredentials(parent context.Context) error {
	ctx, cancel := bounded(parent, loginTimeout)
	defer cancel()
	const what = "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the instance an IAM role"
	if a.cfg.Credentials == nil {
		return errors.New(what)
	}
	_, err := a.cfg.Credentials.Retrieve(ctx)
	switch {
	case err == nil:
		return nil
	case parent.Err() != nil:
		return fmt.Errorf("look for AWS credentials: %w", context.Cause(parent))
	}
	return fmt.Errorf("%s: %w", what, ended(ctx, err))
}

// keysLast is for how long keys from a file are used before the file is read again.
const keysLast = 15 * time.Second

// sharedFile begins what the SDK calls the source of keys that stand in the shared
// credentials or config file.
const sharedFile = "SharedConfigCredentials"

// renewed are credentials of which the SDK reads a part once: those that stand in a
// file. Other programs renew them there (a login helper, a cron job), so they
// are read again now and then, and whatever cannot be renewed any more is looked
// for anew: the file may name other base keys for a role by then. A sdk.CredentialsCache
// stands before it.
type renewed struct {
	load func(context.Context) (sdk.CredentialsProvider, error) // reads the files

	mu  sync.Mutex // guards now
	now sdk.CredentialsProvider
}

// Retrieve implements sdk.CredentialsProvider.
func (k *renewed) Retrieve(ctx context.Context) (sdk.Credentials, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c, err := k.now.Retrieve(ctx)
	if err == nil && !inFile(c) {
		return c, nil
	}
	if newer, lerr := k.load(ctx); lerr == nil && newer != nil {
		// A file that is just being written may hold no keys: what is found then is
		// of another kind, or nothing, and the file is read again soon.
		n, nerr := newer.Retrieve(ctx)
		if nerr == nil && (err != nil || inFile(n)) {
			k.now, c, err = newer, n, nil
		}
	}
	if err == nil && inFile(c) {
		c.CanExpire, c.Expires = true, time.Now().Add(keysLast)
	}
	return c, err
}

// inFile reports whether the keys themselves stand in a file.
func inFile(c sdk.Credentials) bool { return !c.CanExpire && strings.HasPrefix(c.Source, sharedFile) }

// unauthenticated: codes by which any service says that it does not take the
// credentials, whatever they may do.
func unauthenticated(code string) bool {
	switch code {
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired", "RequestTimeTooSkewed",
		"UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", "InvalidToken",
		"InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException":
		return true
	}
	return false
}

// sdkLog writes what the SDK has to say into our log. The message is always the
// same one, so that a damped log counts it.
type sdkLog struct{ log *slog.Logger }

// Logf implements logging.Logger.
func (l sdkLog) Logf(class logging.Classification, format string, v ...any) {
	tell := l.log.Debug
	if class == logging.Warn {
		tell = l.log.Warn
	}
	tell("the AWS SDK reports", "text", fmt.Sprintf(format, v...))
}
