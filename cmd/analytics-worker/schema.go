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

// schemaOptions are the flags of schema.
type schemaOptions struct {
	apply, dryRun bool
	dialect       string
	grants        string // a user
}

func (o schemaOptions) check() error {
	redshift := o.dialect == string(warehouse.Redshift)
	switch {
	case !slices.Contains(warehouse.Dialects(), warehouse.Dialect(o.dialect)):
		return usagef("--dialect %s: must be redshift, postgres or duckdb", o.dialect)
	case o.apply && !redshift:
		return usagef("--apply goes through the Redshift Data API, which takes Redshift's dialect only")
	case o.dryRun && !o.apply:
		return usagef("--dry-run goes with --apply: without it nothing is applied anyway")
	case o.grants != "" && (o.apply || !redshift):
		return usagef("--grants prints a script of its own: it goes with neither --apply nor --dialect")
	}
	return nil
}

func (a *app) schemaCommand() *cobra.Command {
	o := schemaOptions{dialect: string(warehouse.Redshift)}
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print, or apply, the tables that the worker needs",
		Long: `schema prints the definitions of the tables that the worker writes, as a script for the engine in use.
With --apply it creates those that are missing, through the Redshift Data API, and adds columns that tables
of an earlier version lack; nothing is ever dropped or altered otherwise, and workers may go on. With --dry-run
beside it, it says what that would be, and does nothing. Where REDSHIFT_SCHEMA is set all of this is about that
schema, which --apply creates too if the user may.

With --grants it prints what a user needs who is to load into tables that another one owns. Run it as the owner.

The definitions for PostgreSQL and DuckDB have keys and indexes, which Redshift has not; they are for preparing
such a database under the local AWS by hand.`,
		Example: `  analytics-worker schema
  analytics-worker schema --apply --dry-run
  REDSHIFT_SCHEMA=sales analytics-worker schema --apply
  REDSHIFT_SCHEMA=sales analytics-worker schema --grants loader
  analytics-worker schema --grants IAMR:analytics-worker
  analytics-worker schema --dialect postgres | psql "$DATABASE_URL"`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			switch {
			case o.dryRun:
				return a.planSchema(cmd.Context())
			case o.apply:
				return a.applySchema(cmd.Context())
			case cmd.Flags().Changed("grants"):
				return a.printGrants(o.grants)
			}
			return a.printSchema(warehouse.Dialect(o.dialect))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.apply, "apply", false, "create the tables and columns that are missing")
	f.BoolVar(&o.dryRun, "dry-run", false, "with --apply: say what is missing, and do nothing")
	f.StringVar(&o.grants, "grants", "", "print what this database user needs to load into tables of another one")
	f.StringVar(&o.dialect, "dialect", o.dialect, "redshift, postgres or duckdb")
	return cmd
}

func (a *app) printSchema(d warehouse.Dialect) error {
	in, err := a.names()
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(a.stdout, warehouse.Script(in.Definitions(d)))
	return err
}

func (a *app) printGrants(user string) error {
	c, err := loadConfig(a.lookup)
	if err != nil {
		return err
	}
	statements, err := c.Redshift.Names.Grants(user, c.Redshift.Database)
	if err != nil {
		return usagef("--grants %q: %w", user, err)
	}
	_, err = fmt.Fprint(a.stdout, warehouse.Script(statements))
	return err
}

func (a *app) planSchema(ctx context.Context) error {
	plan, _, err := a.planOf(ctx)
	if err != nil {
		return err
	}
	var lines []string
	if plan.Schema != "" {
		lines = append(lines, "would create schema "+plan.Schema)
	}
	for _, t := range plan.Tables {
		lines = append(lines, "would create table "+t)
	}
	for _, column := range plan.Columns {
		lines = append(lines, "would add column "+column)
	}
	if len(lines) == 0 {
		lines = []string{"nothing is missing"}
	}
	_, err = fmt.Fprintln(a.stdout, strings.Join(lines, "\n"))
	return err
}

func (a *app) applySchema(ctx context.Context) error {
	plan, db, err := a.planOf(ctx) // for what is said afterwards
	if err != nil {
		return err
	}
	added, err := warehouse.Apply(ctx, db)
	if err != nil {
		return fmt.Errorf("apply the schema: %w", err)
	}
	var made []string
	if plan.Schema != "" {
		made = append(made, "made schema "+plan.Schema)
	}
	for _, t := range plan.Tables {
		made = append(made, "made table "+t)
	}
	for _, column := range added {
		made = append(made, "column added: "+column)
	}
	if len(made) == 0 {
		made = []string{"nothing was missing"}
	}
	if _, err := fmt.Fprintln(a.stdout, strings.Join(made, "\n")); err != nil {
		return err
	}
	names := warehouse.Tables()
	for i, n := range names {
		names[i] = db.Names().Of(n)
	}
	_, err = fmt.Fprintf(a.stdout, "tables ready: %s\n", strings.Join(names, ", "))
	return err
}

// names reads the one setting that SQL depends on which is printed, not sent.
func (a *app) names() (warehouse.Names, error) {
	s, _ := a.lookup("REDSHIFT_SCHEMA")
	in, err := warehouse.NamesIn(strings.TrimSpace(s))
	if err != nil {
		return in, usagef("REDSHIFT_SCHEMA=%q: %w", s, err)
	}
	return in, nil
}

// planOf asks the warehouse what it lacks, and returns it for what changes it.
func (a *app) planOf(ctx context.Context) (plan warehouse.Plan, db *aws.Redshift, err error) {
	c, err := loadConfig(a.lookup)
	if err != nil {
		return plan, nil, err
	}
	account, err := a.quietAccount(ctx, c)
	if err != nil {
		return plan, nil, err
	}
	patient, answered := a.waiting(ctx)
	defer answered()
	if plan, err = warehouse.PlanOf(patient, account.Redshift(reading(c.Redshift))); err != nil {
		return plan, nil, fmt.Errorf("plan the schema: %w", err)
	}
	return plan, account.Redshift(c.Redshift), nil
}
