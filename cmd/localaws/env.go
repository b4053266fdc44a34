package main

import (
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloudcafe/analytics-worker/localaws"
)

// flagsOnly refuses arguments.
func flagsOnly(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unexpected argument %q: %s takes flags only", args[0], cmd.CommandPath())}
	}
	return nil
}

// versionCommand prints what --version does.
func versionCommand(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  flagsOnly,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(stdout, "localaws version", versionText())
			return err
		},
	}
}

// envCommand prints what a shell needs for its programs to call the local AWS.
func envCommand(addr *string, stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: "Print the exports that point the programs of a shell at it",
		Long: `env prints export lines for a shell: eval "$(localaws env)" points every program that is
started in it, the AWS CLI and the AWS SDKs too, at the local AWS on --addr. It does not
look whether one runs there.`,
		Example: `  eval "$(localaws env)"
  eval "$(localaws env --addr 127.0.0.1:4567)"`,
		Args: flagsOnly,
		RunE: func(*cobra.Command, []string) error {
			if err := checkLoopback("--addr", *addr, "127.0.0.1:4566"); err != nil {
				return usageError{err}
			}
			if _, port, err := net.SplitHostPort(*addr); err == nil && strings.Trim(port, "0") == "" {
				return usageError{fmt.Errorf("--addr %q: env needs the port that localaws serves on, which it prints when it is ready", *addr)}
			}
			for _, v := range [][2]string{
				{"AWS_ENDPOINT_URL", "http://" + *addr},
				{"AWS_REGION", localaws.Region},
				{"AWS_DEFAULT_REGION", localaws.Region},
				{"AWS_ACCESS_KEY_ID", localaws.AccessKeyID},
				{"AWS_SECRET_ACCESS_KEY", localaws.SecretAccessKey},
				{"AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://" + *addr},
			} {
				if _, err := fmt.Fprintf(stdout, "export %s=%s\n", v[0], v[1]); err != nil {
					return err
				}
			}
			_, err := fmt.Fprintln(stdout, "unset AWS_SESSION_TOKEN AWS_PROFILE")
			return err
		},
	}
}
