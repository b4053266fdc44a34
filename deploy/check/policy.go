package check

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
)

// Policy is an IAM policy.
type Policy struct {
	Version   string
	Statement []Statement
}

// Statement is one of a policy. A single action or resource is a list of one,
// and the lists are in order.
type Statement struct {
	Sid, Effect      string
	Action, Resource []string
	Condition        map[string]map[string]string `json:",omitempty"`
}

// PolicyFile reads a policy that stands alone.
func PolicyFile(file string) (Policy, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Policy{}, err
	}
	p, err := ParsePolicy(text)
	if err != nil {
		return Policy{}, fmt.Errorf("%s: %w", file, err)
	}
	return p, nil
}

// ParsePolicy reads a policy from its JSON.
func ParsePolicy(text []byte) (Policy, error) {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return Policy{}, err
	}
	return policy(v), nil
}

func policy(v any) Policy {
	p := Policy{Version: str(object(v)["Version"])}
	for _, s := range list(object(v)["Statement"]) {
		in := object(s)
		out := Statement{Sid: str(in["Sid"]), Effect: str(in["Effect"]), Action: texts(in["Action"]), Resource: texts(in["Resource"])}
		slices.Sort(out.Action)
		slices.Sort(out.Resource)
		for operator, keys := range object(in["Condition"]) {
			for key, value := range object(keys) {
				if out.Condition == nil {
					out.Condition = map[string]map[string]string{}
				}
				if out.Condition[operator] == nil {
					out.Condition[operator] = map[string]string{}
				}
				out.Condition[operator][key] = str(value)
			}
		}
		p.Statement = append(p.Statement, out)
	}
	return p
}

// Actions is every action of the policy, in order and once each.
func (p Policy) Actions() []string {
	var out []string
	for _, s := range p.Statement {
		out = append(out, s.Action...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ManagedPolicy is a policy of its own of the stack.
func (s *Stack) ManagedPolicy(id string) Policy {
	return policy(s.Resources[id].Properties["PolicyDocument"])
}

// InlinePolicy is one that stands in a role of the stack.
func (s *Stack) InlinePolicy(role, name string) Policy {
	for _, p := range list(s.Resources[role].Properties["Policies"]) {
		if str(object(p)["PolicyName"]) == name {
			return policy(object(p)["PolicyDocument"])
		}
	}
	return Policy{}
}

// Trust is who may take on a role of the stack.
func (s *Stack) Trust(role string) []string {
	var out []string
	for _, v := range list(object(s.Resources[role].Properties["AssumeRolePolicyDocument"])["Statement"]) {
		out = append(out, texts(object(object(v)["Principal"])["Service"])...)
	}
	return out
}
