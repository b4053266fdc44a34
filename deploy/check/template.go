// Package check reads the files under deploy: the CloudFormation template with
// its parameters filled in, its alarms and scaling policies as values that a
// test can evaluate, and IAM policies. Nothing of it is part of the worker.
package check

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Parameter is one of a template's parameters. Empty fields are not set.
type Parameter struct {
	Type, Description, Default, AllowedPattern string

	Required      bool // it has no default
	AllowedValues []string
	Min, Max      *float64
}

// Template is a CloudFormation template as it stands in its file. Intrinsic
// functions are in their long form: {"Ref": name}, {"Fn::Sub": text}.
type Template struct {
	Parameters map[string]Parameter
	body       map[string]any
}

// Load reads a template.
func Load(file string) (*Template, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	body, err := value(root.Content[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	t := &Template{Parameters: map[string]Parameter{}, body: object(body)}
	for name, p := range object(t.body["Parameters"]) {
		t.Parameters[name] = parameter(object(p))
	}
	return t, nil
}

func parameter(in map[string]any) Parameter {
	p := Parameter{
		Type: str(in["Type"]), Description: str(in["Description"]), Default: str(in["Default"]), AllowedPattern: str(in["AllowedPattern"]),
		AllowedValues: texts(in["AllowedValues"]),
	}
	_, given := in["Default"]
	p.Required = !given
	if v, ok := in["MinValue"]; ok {
		n := number(v)
		p.Min = &n
	}
	if v, ok := in["MaxValue"]; ok {
		n := number(v)
		p.Max = &n
	}
	return p
}

// value turns a node into maps, slices and scalars, short forms of functions
// into long ones.
func value(n *yaml.Node) (any, error) {
	if n.Kind == yaml.AliasNode {
		return value(n.Alias)
	}
	plain := *n
	function := ""
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		function = "Fn::" + n.Tag[1:]
		if n.Tag == "!Ref" || n.Tag == "!Condition" {
			function = n.Tag[1:]
		}
		plain.Tag = ""
		if n.Kind == yaml.ScalarNode {
			plain.Tag = "!!str"
		}
	}
	v, err := untagged(&plain)
	if err != nil || function == "" {
		return v, err
	}
	return map[string]any{function: v}, nil
}

func untagged(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if _, twice := out[key]; twice {
				return nil, fmt.Errorf("line %d: %s stands twice", n.Content[i].Line, key)
			}
			v, err := value(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			out[key] = v
		}
		return out, nil
	case yaml.SequenceNode:
		out := []any{}
		for _, c := range n.Content {
			v, err := value(c)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	}
	var v any
	err := n.Decode(&v)
	return v, err
}

// Stack is a template with its parameters filled in. What AWS would name itself
// is named by the stack and the logical id, in lower case.
type Stack struct {
	Resources map[string]Resource
	Outputs   map[string]string

	template   *Template
	parameters map[string]string
	conditions map[string]bool
	forced     map[string]bool
}

// Resource is one that the stack would make.
type Resource struct {
	Type       string
	Properties map[string]any
	Whole      map[string]any // with DeletionPolicy and the like
}

// Placeholders of what only an account can tell; AWS's own examples use them.
const (
	Region    = "us-east-1"
	AccountID = "111122223333"
	StackName = "analytics-worker"
)

// Fill gives the parameters values and refuses what CloudFormation would: a
// value outside of what is allowed, a rule that does not hold. Conditions in
// force are not evaluated but taken as given.
func (t *Template) Fill(values map[string]string, force map[string]bool) (*Stack, error) {
	s := &Stack{
		Resources: map[string]Resource{}, Outputs: map[string]string{},
		template: t, parameters: map[string]string{}, conditions: map[string]bool{}, forced: force,
	}
	var problems []error
	for name := range values {
		if _, ok := t.Parameters[name]; !ok {
			problems = append(problems, fmt.Errorf("there is no parameter %s", name))
		}
	}
	for name, p := range t.Parameters {
		v, given := values[name]
		if !given {
			v = p.Default
		}
		if !given && p.Required {
			problems = append(problems, fmt.Errorf("parameter %s has no default and was not given", name))
			continue
		}
		problems = append(problems, p.check(name, v))
		s.parameters[name] = v
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if err := s.rules(); err != nil {
		return nil, err
	}
	return s, s.build()
}

func (p Parameter) check(name, v string) error {
	if p.AllowedPattern != "" {
		re, err := regexp.Compile(p.AllowedPattern)
		if err != nil {
			return fmt.Errorf("parameter %s: %w", name, err)
		}
		if !re.MatchString(v) {
			return fmt.Errorf("parameter %s: %q does not match %s", name, v, p.AllowedPattern)
		}
	}
	if p.AllowedValues != nil && !slices.Contains(p.AllowedValues, v) {
		return fmt.Errorf("parameter %s: %q is none of %q", name, v, p.AllowedValues)
	}
	if p.Type != "Number" {
		return nil
	}
	n, err := strconv.ParseFloat(v, 64)
	if err != nil || p.Min != nil && n < *p.Min || p.Max != nil && n > *p.Max {
		return fmt.Errorf("parameter %s: %q is no number within its bounds", name, v)
	}
	return nil
}

func (s *Stack) rules() error {
	var problems []error
	for name, r := range object(s.template.body["Rules"]) {
		rule := object(r)
		if condition, ok := rule["RuleCondition"]; ok && !s.truth(condition) {
			continue
		}
		for _, a := range list(rule["Assertions"]) {
			if !s.truth(object(a)["Assert"]) {
				problems = append(problems, fmt.Errorf("rule %s: %s", name, str(object(a)["AssertDescription"])))
			}
		}
	}
	return errors.Join(problems...)
}

func (s *Stack) build() error {
	e := evaluation{Stack: s}
	for id, r := range object(s.template.body["Resources"]) {
		whole := object(r)
		if c, ok := whole["Condition"]; ok && !s.condition(str(c)) {
			continue
		}
		whole = object(e.eval(whole))
		s.Resources[id] = Resource{Type: str(whole["Type"]), Properties: object(whole["Properties"]), Whole: whole}
	}
	for id, o := range object(s.template.body["Outputs"]) {
		s.Outputs[id] = str(e.eval(object(o)["Value"]))
	}
	return errors.Join(e.problems...)
}

// Of is the resources of a type, by logical id.
func (s *Stack) Of(kind string) map[string]Resource {
	out := map[string]Resource{}
	for id, r := range s.Resources {
		if r.Type == kind {
			out[id] = r
		}
	}
	return out
}
