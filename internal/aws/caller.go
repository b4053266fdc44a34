package aws

import (
	"context"
	"errors"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Caller is who AWS takes this program for.
type Caller struct {
	ARN   string
	Clock time.Time // of AWS, to the second, when it answered; zero = it did not say
}

// Caller asks STS, which every identity may. The clock is there also where the
// call was refused: a clock that is wrong is a reason for that.
func (a *Account) Caller(ctx context.Context) (Caller, error) {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	out, err := sts.NewFromConfig(a.cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		var c Caller
		var refused *awshttp.ResponseError
		if errors.As(err, &refused) && refused.Response != nil {
			c.Clock = dateOf(refused.Response.Header)
		}
		return c, failed(ctx, "ask STS who we are", err)
	}
	if sdk.ToString(out.Arn) == "" {
		return Caller{}, incomplete("ask STS who we are", "it names nobody")
	}
	clock, _ := awsmiddleware.GetServerTime(out.ResultMetadata)
	return Caller{ARN: sdk.ToString(out.Arn), Clock: clock}, nil
}
