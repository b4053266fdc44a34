package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// settingsTopic is what help takes beside the verbs.
const settingsTopic = "settings"

// rootHelp has the verbs and the examples first: what does not fit on a screen is
// what is asked for least.
const rootHelp = `{{.Short}}

Usage:
  {{.UseLine}}
  {{.CommandPath}} VERB [flags]

Verbs:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}

Examples:
{{.Example}}

{{.Long}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}

"{{.CommandPath}} VERB --help" tells more about a verb.
`

// strictHelp makes the verbs that cobra adds refuse what they do not know, with
// the status of a mistake: by themselves they print their help, and are content.
func (a *app) strictHelp(root *cobra.Command) {
	others := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if cmd == root {
			cmd.SetHelpTemplate(rootHelp)
		}
		if a.fits(a.stdout) {
			columns, _ := a.size(a.stdout)
			fitHelp(cmd, columns)
		}
		others(cmd, args)
	})
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [VERB | settings]",
		Short: "Help about a verb, or about the settings",
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			names := []string{settingsTopic}
			for _, cmd := range root.Commands() {
				names = append(names, cmd.Name())
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 && args[0] == settingsTopic {
				columns, _ := a.size(a.stdout)
				return writeSettings(a.stdout, columns)
			}
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("no help on %q; see %s --help", strings.Join(args, " "), root.Name())
			}
			return cmd.Help()
		},
	})
	root.InitDefaultCompletionCmd("completion")
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.Example = "  source <(analytics-worker completion bash)\n  analytics-worker completion zsh > \"${fpath[1]}/_analytics-worker\"\n  analytics-worker completion fish | source"
			cmd.Args, cmd.RunE = noArgs, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
}

// fitHelp makes the help of a verb fit in lines of so many characters.
func fitHelp(cmd *cobra.Command, columns int) {
	cmd.Long = fit(cmd.Long, columns)
	wrapped := fmt.Sprintf(".FlagUsagesWrapped %d | trim", columns)
	cmd.SetUsageTemplate(strings.ReplaceAll(cmd.UsageTemplate(), ".FlagUsages | trim", wrapped))
	cmd.SetHelpTemplate(strings.ReplaceAll(cmd.HelpTemplate(), ".FlagUsages | trim", wrapped))
}

// fit breaks the paragraphs of a text anew that have longer lines. Indented lines keep
// their indent.
func fit(text string, columns int) string {
	paragraphs := strings.Split(text, "\n\n")
	for i, p := range paragraphs {
		lines := strings.Split(p, "\n")
		if !slices.ContainsFunc(lines, func(l string) bool { return len([]rune(l)) > columns }) {
			continue
		}
		indent := func(l string) int { return len(l) - len(strings.TrimLeft(l, " ")) }
		var out []string
		for len(lines) > 0 {
			n, by := 1, indent(lines[0])
			for n < len(lines) && indent(lines[n]) == by {
				n++
			}
			for _, line := range wrap(strings.Join(lines[:n], " "), columns-by) {
				out = append(out, strings.Repeat(" ", by)+line)
			}
			lines = lines[n:]
		}
		paragraphs[i] = strings.Join(out, "\n")
	}
	return strings.Join(paragraphs, "\n\n")
}

// writeSettings lists the settings, in lines of the terminal's width.
func writeSettings(w io.Writer, columns int) error {
	var b strings.Builder
	b.WriteString(strings.Join(wrap("Settings come from the environment. An empty value counts as given.", columns), "\n") + "\n")
	const indent = 4
	for _, s := range settings() {
		initial := s.initial
		if initial == "" {
			initial = "(empty)"
		}
		fmt.Fprintf(&b, "\n%s (default %s)\n", s.name, initial)
		for _, line := range wrap(s.meaning, min(columns, 100)-indent) {
			b.WriteString(strings.Repeat(" ", indent) + line + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// wrap breaks a text into lines of at most so many characters, at its spaces.
func wrap(text string, most int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > most {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
