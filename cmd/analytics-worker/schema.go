package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

func (a *app) schemaCommand() *cobra.Command {
	var apply bool
	dialect := string(warehouse.Redshift)
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print, or apply, the tables that the worker needs",
		Long: `schema prints the definitions of the tables that the worker writes, as a script for the engine in use.
With --apply it creates those that are missing, through the Redshift Data API, and adds columns that tables
of an earlier version lack; what is there already stays as it is, and workers may go on. The definitions for PostgreSQL and DuckDB have keys and indexes, which Redshift has not;
they are for preparing such a database under the local AWS by hand.`,
		Example: `  analytics-worker schema
  analytics-worker schema --apply
  analytics-worker schema --dialect postgres | psql "$DATABASE_URL"`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(warehouse.Dialects(), warehouse.Dialect(dialect)) {
				return usagef("--dialect %s: must be redshift, postgres or duckdb", dialect)
			}
			statements := warehouse.Schema(warehouse.Dialect(dialect))
			if !apply {
				_, err := fmt.Fprint(a.stdout, warehouse.Script(statements))
				return err
			}
			if dialect != string(warehouse.Redshift) {
				return usagef("--apply goes through the Redshift Data API, which takes Redshift's dialect only")
			}
			return a.applySchema(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&apply, "apply", false, "create the tables and columns that are missing")
	cmd.Flags().StringVar(&dialect, "dialect", dialect, "redshift, postgres or duckdb")
	return cmd
}

func (a *app) applySchema(ctx context.Context) error {
	_, db, err := a.openWarehouse(ctx)
	if err != nil {
		return err
	}
	added, err := warehouse.Apply(ctx, db)
	if err != nil {
		return fmt.Errorf("apply the schema: %w", err)
	}
	for _, column := range added {
		if _, err := fmt.Fprintln(a.stdout, "column added:", column); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(a.stdout, "tables ready: %s\n", strings.Join(warehouse.Tables(), ", "))
	return err
}

// openWarehouse reads the settings and opens the account and the warehouse.
func (a *app) openWarehouse(ctx context.Context) (config, *aws.Redshift, error) {
	c, err := loadConfig(a.lookup)
	if err != nil {
		return c, nil, err
	}
	account, err := c.account(ctx, a.logger())
	if err != nil {
		return c, nil, err
	}
	return c, account.Redshift(c.Redshift), nil
}
