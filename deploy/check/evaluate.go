package check

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// evaluation fills in what a template leaves open, and gathers what it cannot.
type evaluation struct {
	*Stack
	problems []error
}

// noValue is what stands for AWS::NoValue until it is left out.
type noValue struct{}

func (e *evaluation) failed(format string, v ...any) any {
	e.problems = append(e.problems, fmt.Errorf(format, v...))
	return ""
}

func (e *evaluation) eval(in any) any {
	switch in := in.(type) {
	case []any:
		out := []any{}
		for _, v := range in {
			if v = e.eval(v); v != (noValue{}) {
				out = append(out, v)
			}
		}
		return out
	case map[string]any:
		if len(in) == 1 {
			for name, args := range in {
				if name == "Ref" || strings.HasPrefix(name, "Fn::") {
					return e.call(name, args)
				}
			}
		}
		out := map[string]any{}
		for k, v := range in {
			if v = e.eval(v); v != (noValue{}) {
				out[k] = v
			}
		}
		return out
	}
	return in
}

func (e *evaluation) call(name string, args any) any {
	switch name {
	case "Ref":
		return e.ref(str(args))
	case "Fn::GetAtt":
		return e.attribute(str(args))
	case "Fn::Sub":
		return e.sub(args)
	case "Fn::Base64":
		return e.eval(args) // as text: whoever reads it wants to read it
	case "Fn::If":
		a := list(args)
		if e.condition(str(a[0])) {
			return e.eval(a[1])
		}
		return e.eval(a[2])
	}
	a := list(e.eval(args))
	switch name {
	case "Fn::Select":
		from, i := list(a[1]), int(number(a[0]))
		if i >= len(from) {
			return e.failed("Fn::Select %d of %d", i, len(from))
		}
		return from[i]
	case "Fn::Split":
		var out []any
		for part := range strings.SplitSeq(str(a[1]), str(a[0])) {
			out = append(out, part)
		}
		return out
	case "Fn::FindInMap":
		row := object(object(object(e.template.body["Mappings"])[str(a[0])])[str(a[1])])
		if v, ok := row[str(a[2])]; ok {
			return v
		}
		return e.failed("nothing in the map at %q", a)
	}
	return e.failed("this reader does not know %s", name)
}

func (e *evaluation) ref(name string) any {
	switch name {
	case "AWS::NoValue":
		return noValue{}
	case "AWS::Region":
		return Region
	case "AWS::AccountId":
		return AccountID
	case "AWS::Partition":
		return "aws"
	case "AWS::StackName":
		return StackName
	}
	if p, ok := e.template.Parameters[name]; ok {
		v := e.parameters[name]
		switch {
		case p.Type == "Number":
			return number(v)
		case strings.HasPrefix(p.Type, "List<"):
			var out []any
			for part := range strings.SplitSeq(v, ",") {
				out = append(out, part)
			}
			return out
		}
		return v
	}
	return e.physical(name)
}

// physical is what Ref gives for a resource: its name or id, for a policy its ARN.
func (e *evaluation) physical(id string) any {
	r, ok := object(e.template.body["Resources"])[id]
	if !ok {
		return e.failed("a reference to %q, which is neither a parameter nor a resource", id)
	}
	properties := object(object(r)["Properties"])
	for _, key := range []string{"AutoScalingGroupName", "TableName", "DashboardName", "LogGroupName"} {
		if v, ok := properties[key]; ok && !strings.HasSuffix(str(object(r)["Type"]), "ScalingPolicy") {
			return e.eval(v)
		}
	}
	name := StackName + "-" + strings.TrimSuffix(strings.ToLower(id), "bucket")
	if str(object(r)["Type"]) == "AWS::IAM::ManagedPolicy" {
		return "arn:aws:iam::" + AccountID + ":policy/" + name
	}
	return name
}

func (e *evaluation) attribute(path string) any {
	id, name, _ := strings.Cut(path, ".")
	kind := str(object(object(e.template.body["Resources"])[id])["Type"])
	switch physical := str(e.physical(id)); kind + "." + name {
	case "AWS::S3::Bucket.Arn":
		return "arn:aws:s3:::" + physical
	case "AWS::IAM::Role.Arn":
		return "arn:aws:iam::" + AccountID + ":role/" + physical
	case "AWS::IAM::InstanceProfile.Arn":
		return "arn:aws:iam::" + AccountID + ":instance-profile/" + physical
	case "AWS::EC2::LaunchTemplate.LatestVersionNumber":
		return "1"
	}
	return e.failed("this reader does not know the attribute %s of a %s", path, kind)
}

var variable = regexp.MustCompile(`\$\{(!?)([A-Za-z0-9:.]+)\}`)

func (e *evaluation) sub(args any) any {
	text, names := str(args), map[string]any{}
	if a := list(args); a != nil {
		text, names = str(a[0]), object(a[1])
	}
	return variable.ReplaceAllStringFunc(text, func(v string) string {
		m := variable.FindStringSubmatch(v)
		switch name := m[2]; {
		case m[1] == "!":
			return "${" + name + "}"
		case names[name] != nil:
			return str(e.eval(names[name]))
		case strings.Contains(name, "."):
			return str(e.attribute(name))
		default:
			return str(e.ref(name))
		}
	})
}

func (s *Stack) condition(name string) bool {
	if v, ok := s.forced[name]; ok {
		return v
	}
	if v, ok := s.conditions[name]; ok {
		return v
	}
	v := s.truth(object(s.template.body["Conditions"])[name])
	s.conditions[name] = v
	return v
}

// truth evaluates the functions of conditions and rules.
func (s *Stack) truth(in any) bool {
	for name, args := range object(in) {
		a := list(args)
		switch name {
		case "Condition":
			return s.condition(str(args))
		case "Fn::Not":
			return !s.truth(a[0])
		case "Fn::And":
			return !slices.ContainsFunc(a, func(v any) bool { return !s.truth(v) })
		case "Fn::Or":
			return slices.ContainsFunc(a, s.truth)
		}
		e := evaluation{Stack: s}
		switch name {
		case "Fn::Equals":
			return str(e.eval(a[0])) == str(e.eval(a[1]))
		case "Fn::Contains":
			return slices.Contains(texts(a[0]), str(e.eval(a[1])))
		}
	}
	return false
}

// The template is data of unknown form: what is not as expected is empty here,
// and the tests see that it is.

func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

// texts is a list of texts, also where it is a single one.
func texts(v any) []string {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	var out []string
	for _, e := range list(v) {
		out = append(out, str(e))
	}
	return out
}

func str(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case int, bool:
		return fmt.Sprint(v)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(text)
}

func number(v any) float64 {
	n, err := strconv.ParseFloat(str(v), 64)
	if err != nil {
		return 0
	}
	return n
}
