package aws

import (
	"context"
	"os"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// metadataTime is how long the instance may take to name its region. Nothing
// answers where there is no instance.
const metadataTime = time.Second

// region is the region to work in, and what named it: the caller, then, in the
// SDK's order, AWS_REGION, AWS_DEFAULT_REGION and the profile, then the instance.
func region(ctx context.Context, cfg sdk.Config, given string) (name, found string) {
	if given != "" {
		return given, "AWS_REGION"
	}
	for _, source := range cfg.ConfigSources {
		switch s := source.(type) {
		case config.EnvConfig:
			if s.Region != "" && os.Getenv("AWS_REGION") == "" {
				return s.Region, "AWS_DEFAULT_REGION"
			} else if s.Region != "" {
				return s.Region, "AWS_REGION"
			}
		case config.SharedConfig:
			if s.Region != "" {
				return s.Region, "profile " + s.Profile
			}
		}
	}
	if name := instanceRegion(ctx, cfg); name != "" {
		return name, "the instance"
	}
	return fallbackRegion, "the default: nothing names one"
}

// instanceRegion asks the instance's metadata, as the AWS CLI does last of all. A
// program that was pointed at an endpoint of somebody's own is not made to wait for
// an instance that is not there.
func instanceRegion(ctx context.Context, cfg sdk.Config) string {
	if os.Getenv("AWS_ENDPOINT_URL") != "" && os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT") == "" {
		return ""
	}
	ctx, cancel := bounded(ctx, metadataTime)
	defer cancel()
	out, err := imds.NewFromConfig(cfg).GetRegion(ctx, nil)
	if err != nil {
		return ""
	}
	return out.Region
}
