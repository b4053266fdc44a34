// Package hcl reads the Terraform module with HashiCorp's own parser and holds
// it against the CloudFormation template. It holds nothing but tests.
package hcl

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/cloudcafe/analytics-worker/deploy/check"
)

const folder = "../../terraform"

// module is the Terraform module with its variables filled in.
type module struct {
	t         *testing.T
	blocks    []*hclsyntax.Block
	context   *hcl.EvalContext
	resources map[string][]map[string]any // by "type.name", one for each instance
}

func blocks(t *testing.T) (out []*hclsyntax.Block) {
	t.Helper()
	files, err := filepath.Glob(folder + "/*.tf")
	if err != nil || len(files) < 5 {
		t.Fatalf("files %q, %v", files, err)
	}
	parser := hclparse.NewParser()
	for _, name := range files {
		file, diagnostics := parser.ParseHCLFile(name)
		if diagnostics.HasErrors() {
			t.Fatal(diagnostics)
		}
		out = append(out, file.Body.(*hclsyntax.Body).Blocks...)
	}
	return out
}

// named is an object of what a resource is known by once it is there; the names
// are those that the reader of the template gives.
func named(name, arn string) cty.Value {
	return cty.ObjectVal(map[string]cty.Value{
		"id": cty.StringVal(name), "name": cty.StringVal(name), "bucket": cty.StringVal(name), "dashboard_name": cty.StringVal(name),
		"arn": cty.StringVal(arn), "latest_version": cty.StringVal("1"),
	})
}

func iam(kind, name string) cty.Value {
	return named(check.StackName+"-"+name, "arn:aws:iam::"+check.AccountID+":"+kind+"/"+check.StackName+"-"+name)
}

func known() map[string]cty.Value {
	s := cty.StringVal
	object := cty.ObjectVal
	type values = map[string]cty.Value
	return values{
		"data": object(values{
			"aws_caller_identity": object(values{"current": object(values{"account_id": s(check.AccountID)})}),
			"aws_partition":       object(values{"current": object(values{"partition": s("aws")})}),
			"aws_region":          object(values{"current": object(values{"id": s(check.Region)})}),
			"aws_ssm_parameter":   object(values{"ami": cty.TupleVal([]cty.Value{object(values{"value": s("the newest")})})}),
		}),
		"path": object(values{"module": s(folder)}),
		"aws_s3_bucket": object(values{
			"staging":      named("analytics-worker-staging", "arn:aws:s3:::analytics-worker-staging"),
			"dead_letters": named("analytics-worker-deadletter", "arn:aws:s3:::analytics-worker-deadletter"),
		}),
		"aws_dynamodb_table":       object(values{"leases": named("analytics-worker-order-events", "")}),
		"aws_iam_role":             object(values{"copy": iam("role", "copyrole"), "worker": iam("role", "workerrole")}),
		"aws_iam_policy":           object(values{"worker": iam("policy", "workerpolicy"), "operator": iam("policy", "operatorpolicy")}),
		"aws_iam_instance_profile": object(values{"worker": iam("instance-profile", "instanceprofile")}),
		"aws_security_group":       object(values{"worker": named("analytics-worker-securitygroup", "")}),
		"aws_launch_template":      object(values{"worker": named("analytics-worker-launchtemplate", "")}),
		"aws_autoscaling_group":    object(values{"workers": named("analytics-worker-asg", "")}),
		"aws_autoscaling_policy":   object(values{"lag": named("", "analytics-worker-scaleoutonlag"), "idle": named("", "analytics-worker-scaleinwhenidle")}),
		"aws_sns_topic":            object(values{"alarms": named("", "analytics-worker-alarmtopic")}),
		"aws_cloudwatch_dashboard": object(values{"worker": named("analytics-worker-us-east-1", "")}),
	}
}

// functions are those of Terraform's that the module uses.
func functions(context func() *hcl.EvalContext) map[string]function.Function {
	text := []function.Parameter{{Name: "text", Type: cty.String}}
	same := function.New(&function.Spec{
		Params: text, Type: function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return args[0], nil },
	})
	return map[string]function.Function{
		"jsonencode": stdlib.JSONEncodeFunc, "merge": stdlib.MergeFunc, "replace": stdlib.ReplaceFunc,
		"base64encode": same, "nonsensitive": same, // as text: whoever reads it wants to read it
		"templatefile": function.New(&function.Spec{
			Params: []function.Parameter{{Name: "file", Type: cty.String}, {Name: "vars", Type: cty.DynamicPseudoType}},
			Type:   function.StaticReturnType(cty.String),
			Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
				source, err := os.ReadFile(args[0].AsString())
				if err != nil {
					return cty.NilVal, err
				}
				expression, diagnostics := hclsyntax.ParseTemplate(source, args[0].AsString(), hcl.InitialPos)
				if diagnostics.HasErrors() {
					return cty.NilVal, diagnostics
				}
				v, diagnostics := expression.Value(&hcl.EvalContext{Variables: args[1].AsValueMap(), Functions: context().Functions})
				if diagnostics.HasErrors() {
					return cty.NilVal, diagnostics
				}
				return v, nil
			},
		}),
	}
}

// fill gives the variables values, those that are not named their defaults.
func fill(t *testing.T, values map[string]cty.Value) *module {
	t.Helper()
	m := &module{t: t, blocks: blocks(t), resources: map[string][]map[string]any{}}
	m.context = &hcl.EvalContext{Variables: known()}
	m.context.Functions = functions(func() *hcl.EvalContext { return m.context })
	vars := map[string]cty.Value{}
	for _, b := range m.blocks {
		if b.Type != "variable" {
			continue
		}
		name := b.Labels[0]
		if v, ok := values[name]; ok {
			vars[name] = v
		} else if d, ok := b.Body.Attributes["default"]; ok {
			vars[name] = m.value(d.Expr, m.context)
		}
	}
	m.context.Variables["var"] = cty.ObjectVal(vars)
	m.locals()
	for _, b := range m.blocks {
		if b.Type == "resource" {
			m.resource(b)
		}
	}
	return m
}

func (m *module) value(e hclsyntax.Expression, context *hcl.EvalContext) cty.Value {
	m.t.Helper()
	v, diagnostics := e.Value(context)
	if diagnostics.HasErrors() {
		m.t.Fatal(diagnostics)
	}
	return v
}

// locals evaluates the local values, each once those that it names are known.
func (m *module) locals() {
	left, done := map[string]*hclsyntax.Attribute{}, map[string]cty.Value{}
	for _, b := range m.blocks {
		if b.Type == "locals" {
			for name, a := range b.Body.Attributes {
				left[name] = a
			}
		}
	}
	for len(left) > 0 {
		before := len(left)
		var failed hcl.Diagnostics
		for name, a := range left {
			m.context.Variables["local"] = cty.ObjectVal(done)
			v, diagnostics := a.Expr.Value(m.context)
			if diagnostics.HasErrors() {
				failed = diagnostics
				continue
			}
			done[name] = v
			delete(left, name)
		}
		if len(left) == before {
			m.t.Fatal(failed)
		}
	}
	m.context.Variables["local"] = cty.ObjectVal(done)
}

// resource evaluates each instance of a resource.
func (m *module) resource(b *hclsyntax.Block) {
	name := strings.Join(b.Labels, ".")
	m.resources[name] = []map[string]any{}
	add := func(context *hcl.EvalContext) {
		m.resources[name] = append(m.resources[name], m.body(b.Body, context))
	}
	switch count, each := b.Body.Attributes["count"], b.Body.Attributes["for_each"]; {
	case count != nil:
		n, _ := m.value(count.Expr, m.context).AsBigFloat().Int64()
		for range n {
			add(m.context)
		}
	case each != nil:
		for key, v := range m.value(each.Expr, m.context).AsValueMap() {
			add(child(m.context, "each", cty.ObjectVal(map[string]cty.Value{"key": cty.StringVal(key), "value": v})))
		}
	default:
		add(m.context)
	}
}

func child(parent *hcl.EvalContext, name string, v cty.Value) *hcl.EvalContext {
	c := parent.NewChild()
	c.Variables = map[string]cty.Value{name: v}
	return c
}

// body is the attributes of a block, and its blocks as lists by their type.
func (m *module) body(b *hclsyntax.Body, context *hcl.EvalContext) map[string]any {
	out := map[string]any{}
	for name, a := range b.Attributes {
		if name != "count" && name != "for_each" && name != "depends_on" {
			out[name] = m.plain(m.value(a.Expr, context))
		}
	}
	add := func(kind string, v any) {
		l, _ := out[kind].([]any)
		out[kind] = append(l, v)
	}
	for _, inner := range b.Blocks {
		switch inner.Type {
		case "lifecycle":
			for _, a := range inner.Body.Attributes {
				add(inner.Type, a.Name)
			}
		case "dynamic":
			of := m.value(inner.Body.Attributes["for_each"].Expr, context)
			for it := of.ElementIterator(); it.Next(); {
				k, v := it.Element()
				c := child(context, inner.Labels[0], cty.ObjectVal(map[string]cty.Value{"key": k, "value": v}))
				add(inner.Labels[0], m.body(inner.Body.Blocks[0].Body, c))
			}
		default:
			add(inner.Type, m.body(inner.Body, context))
		}
	}
	return out
}

// plain is a value as encoding/json would decode it.
func (m *module) plain(v cty.Value) any {
	switch {
	case v.IsNull():
		return nil
	case v.Type() == cty.String:
		return v.AsString()
	case v.Type() == cty.Number:
		n, _ := v.AsBigFloat().Float64()
		return n
	case v.Type() == cty.Bool:
		return v.True()
	case v.Type().IsObjectType() || v.Type().IsMapType():
		out := map[string]any{}
		for k, e := range v.AsValueMap() {
			out[k] = m.plain(e)
		}
		return out
	case v.CanIterateElements():
		out := []any{}
		for _, e := range v.AsValueSlice() {
			out = append(out, m.plain(e))
		}
		return out
	}
	text, err := ctyjson.Marshal(v, v.Type())
	m.t.Fatalf("a value of no known form: %s, %v", text, err)
	return nil
}

// at is what is at a path below the only instance of a resource: names of
// attributes and blocks, and places in lists.
func (m *module) at(resource string, path ...any) any {
	m.t.Helper()
	all := m.resources[resource]
	if len(all) != 1 {
		m.t.Fatalf("%d instances of %s", len(all), resource)
	}
	return below(all[0], path...)
}

func below(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			o, _ := v.(map[string]any)
			v = o[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}
