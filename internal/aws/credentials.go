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

// credentialAdvice is what to do about a refusal of the credentials.
func credentialAdvice(r refusal) string {
	switch r.Code {
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired":
		return "; the AWS credentials have expired: renew them. Those of a role and those in a file are read again by themselves, those in the environment at a restart"
	case "RequestExpired", "RequestTimeTooSkewed":
		return clockAdvice
	case "InvalidSignatureException", "SignatureDoesNotMatch":
		// "Signature expired: ... is now earlier than ..." and "Signature not yet current: ...".
		if strings.HasPrefix(r.Message, "Signature expired") || strings.HasPrefix(r.Message, "Signature not yet current") {
			return clockAdvice
		}
		return "; check the AWS credentials: the secret access key is not that of the access key"
	case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", "InvalidToken":
		return "; check the AWS credentials: AWS does not know the access key (is it deleted or disabled, is its session token missing or of another, is the region enabled in the account?)"
	}
	return "; check the AWS credentials"
}

const clockAdvice = "; this machine's clock is more than five minutes off AWS's: enable chrony or systemd-timesyncd"

// keyAdvice is what to do about a refusal of the key that encrypts the stream.
func keyAdvice(code string) string {
	switch code {
	case "KMSThrottlingException":
		return "; the account's rate of calls to KMS is used up, which passes; if it stays, ask for a higher quota of KMS"
	case "KMSAccessDeniedException":
		return "; the caller's IAM role and the key's policy must allow kms:Decrypt on the stream's KMS key (and kms:GenerateDataKey to write)"
	case "KMSDisabledException":
		return "; enable the stream's KMS key"
	case "KMSInvalidStateException":
		return "; the stream's KMS key cannot be used now: is its deletion scheduled, or its material not imported?"
	case "KMSNotFoundException":
		return "; the stream's KMS key is not there: start the stream's encryption with another one"
	}
	return "; check the stream's KMS key"
}

// Why a caller was refused; see judged.
type (
	badCredentials struct{ error }
	badKey         struct{ error }
)

func (e badCredentials) Unwrap() error { return e.error }
func (e badKey) Unwrap() error         { return e.error }

// Unauthenticated reports whether a service did not take the credentials: no
// permission would help.
func Unauthenticated(err error) bool { return errors.As(err, new(badCredentials)) }

// KeyRefused reports whether a service cannot use the KMS key that encrypts the data.
func KeyRefused(err error) bool { return errors.As(err, new(badKey)) }

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
