package main

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// completeValues gives the shell the values of flags that take one of a few words,
// and keeps it from offering files for all others that name none.
func completeValues(a *app, root *cobra.Command) {
	commands := append([]*cobra.Command{root}, root.Commands()...)
	for _, cmd := range commands {
		flags := func(f *pflag.Flag) {
			if _, has := cmd.GetFlagCompletionFunc(f.Name); has || f.Value.Type() == "bool" || f.Name == "file" {
				return
			}
			values := cobra.NoFileCompletions
			switch f.Name {
			case "format", "dialect", "color":
				values = cobra.FixedCompletions(wordsOf(f.Usage), cobra.ShellCompDirectiveNoFileComp)
			case "shard":
				values = a.completeShards
			}
			_ = cmd.RegisterFlagCompletionFunc(f.Name, values) // the flag is there, and has no completion yet
		}
		cmd.LocalNonPersistentFlags().VisitAll(flags)
		if cmd == root {
			cmd.PersistentFlags().VisitAll(flags)
		}
		if words := cmd.ValidArgs; words != nil {
			cmd.ValidArgs = nil
			cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
				if len(args) > 0 {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
				return words, cobra.ShellCompDirectiveNoFileComp
			}
		}
		if cmd.ValidArgsFunction == nil && cmd.Name() != "completion" {
			cmd.ValidArgsFunction = cobra.NoFileCompletions
		}
	}
}

// wordsOf are the values that a flag's help names: "table, csv or json", with what
// each means in brackets.
func wordsOf(usage string) []string {
	for {
		from, to := strings.IndexByte(usage, '('), strings.IndexByte(usage, ')')
		if from < 0 || to < from {
			break
		}
		usage = usage[:from] + usage[to+1:]
	}
	var words []string
	for _, word := range strings.Fields(strings.ReplaceAll(usage, ",", " ")) {
		if word != "or" {
			words = append(words, word)
		}
	}
	return words
}

// completeTime bounds how long the shell waits for the names of shards.
const completeTime = 2 * time.Second

// completeShards asks the stream for its shards.
func (a *app) completeShards(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTime)
	defer cancel()
	c, err := loadConfig(a.lookup)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	account, err := c.account(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer account.Close()
	shards, _ := account.Stream(c.Stream).Shards(ctx) // what is not answered is not offered
	var names []string
	for _, s := range shards {
		names = append(names, s.ID)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
