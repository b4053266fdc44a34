package dynamodb

import (
	"maps"
	"slices"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

type updateTableInput struct {
	TableName                   string
	AttributeDefinitions        []attributeDefinition
	BillingMode                 string
	ProvisionedThroughput       *throughput
	DeletionProtectionEnabled   *bool
	GlobalSecondaryIndexUpdates []struct {
		Create *indexInput
		Delete *struct{ IndexName string }
		Update *struct {
			IndexName             string
			ProvisionedThroughput *throughput
		}
	}
}

// updateTable takes effect at once and whole, or not at all. What changes
// nothing here (streams, encryption, table class) is taken and forgotten.
func (s *Service) updateTable(in *updateTableInput, _ string) (*tableOutput, *wire.Error) {
	was, err := s.described(in.TableName)
	if err != nil {
		return nil, err
	}
	t := *was // a copy: an error below must leave no half of the change
	t.indexes = slices.Clone(was.indexes)
	if in.BillingMode != "" || in.ProvisionedThroughput != nil {
		mode := in.BillingMode
		if mode == "" {
			mode = t.billing
		}
		if err := t.bill(mode, in.ProvisionedThroughput); err != nil {
			return nil, err
		}
	}
	if in.DeletionProtectionEnabled != nil {
		t.protected = *in.DeletionProtectionEnabled
	}
	kinds, err := t.define(in.AttributeDefinitions)
	if err != nil {
		return nil, err
	}
	for _, u := range in.GlobalSecondaryIndexUpdates {
		switch {
		case u.Create != nil:
			err = t.addIndex(*u.Create, false, kinds, map[string]bool{})
		case u.Delete != nil:
			err = t.dropIndex(u.Delete.IndexName)
		case u.Update != nil && t.index(u.Update.IndexName) == nil:
			err = noIndex(u.Update.IndexName)
		}
		if err != nil {
			return nil, err
		}
	}
	t.dropUnused()
	*was = t
	return &tableOutput{TableDescription: was.describe("UPDATING")}, nil
}

// define adds the definitions to the table's, which need not be given again, and
// returns the types of all.
func (t *table) define(more []attributeDefinition) (map[string]kind, *wire.Error) {
	given, err := definitions(more)
	if err != nil {
		return nil, err
	}
	known, err := definitions(t.attributes)
	if err != nil {
		return nil, err
	}
	t.attributes = slices.Clone(t.attributes)
	for _, d := range more {
		was, ok := known[d.AttributeName]
		if ok && was != d.AttributeType {
			return nil, wire.Errorf("ValidationException", "One or more parameter values were invalid: Attribute %s is of the type %s and cannot become %s", d.AttributeName, was, d.AttributeType)
		}
		if !ok {
			t.attributes = append(t.attributes, d)
		}
	}
	maps.Copy(known, given)
	return known, nil
}

// dropUnused takes away the definitions that no key uses any more.
func (t *table) dropUnused() {
	used := t.keys.names()
	for _, ix := range t.indexes {
		used = append(used, ix.keys.names()...)
	}
	t.attributes = slices.DeleteFunc(slices.Clone(t.attributes), func(d attributeDefinition) bool {
		return !slices.Contains(used, d.AttributeName)
	})
}

func noIndex(name string) *wire.Error {
	return wire.Errorf("ResourceNotFoundException", "Requested resource not found: Index: %s not found", name)
}

func (t *table) dropIndex(name string) *wire.Error {
	i := slices.IndexFunc(t.indexes, func(ix *index) bool { return ix.name == name && !ix.local })
	if i < 0 {
		return noIndex(name)
	}
	t.indexes = slices.Delete(t.indexes, i, i+1)
	return nil
}

type listTablesInput struct {
	ExclusiveStartTableName string
	Limit                   *int
}

type listTablesOutput struct {
	TableNames             []string
	LastEvaluatedTableName string `json:",omitempty"`
}

func (s *Service) listTables(in *listTablesInput, _ string) (*listTablesOutput, *wire.Error) {
	limit := 100
	if in.Limit != nil {
		if limit = *in.Limit; limit < 1 || limit > 100 {
			return nil, wire.Errorf("ValidationException", "1 validation error detected: Value '%d' at 'limit' failed to satisfy constraint: Member must have value from 1 to 100", limit)
		}
	}
	out := &listTablesOutput{TableNames: []string{}}
	for _, name := range slices.Sorted(maps.Keys(s.tables)) {
		if name <= in.ExclusiveStartTableName {
			continue
		}
		if len(out.TableNames) == limit {
			out.LastEvaluatedTableName = out.TableNames[limit-1]
			break
		}
		out.TableNames = append(out.TableNames, name)
	}
	return out, nil
}

type ttlSpecification struct {
	AttributeName string
	Enabled       bool
}

type updateTTLInput struct {
	TableName               string
	TimeToLiveSpecification ttlSpecification
}

type updateTTLOutput struct{ TimeToLiveSpecification ttlSpecification }

// updateTimeToLive keeps the setting; nothing expires here. (AWS may take days
// to delete what has expired: nobody may count on it.)
func (s *Service) updateTimeToLive(in *updateTTLInput, _ string) (*updateTTLOutput, *wire.Error) {
	t, err := s.described(in.TableName)
	if err != nil {
		return nil, err
	}
	spec := in.TimeToLiveSpecification
	switch {
	case spec.AttributeName == "":
		return nil, wire.Errorf("ValidationException", "TimeToLiveSpecification.AttributeName must be given")
	case spec.Enabled && t.ttl != "":
		return nil, wire.Errorf("ValidationException", "TimeToLive is already enabled")
	case !spec.Enabled && t.ttl == "":
		return nil, wire.Errorf("ValidationException", "TimeToLive is already disabled")
	}
	t.ttl = ""
	if spec.Enabled {
		t.ttl = spec.AttributeName
	}
	return &updateTTLOutput{spec}, nil
}

type ttlDescription struct {
	TimeToLiveStatus string
	AttributeName    string `json:",omitempty"`
}

type describeTTLOutput struct{ TimeToLiveDescription ttlDescription }

func (s *Service) describeTimeToLive(in *tableInput, _ string) (*describeTTLOutput, *wire.Error) {
	t, err := s.described(in.TableName)
	if err != nil {
		return nil, err
	}
	d := ttlDescription{TimeToLiveStatus: "DISABLED"}
	if t.ttl != "" {
		d = ttlDescription{"ENABLED", t.ttl}
	}
	return &describeTTLOutput{d}, nil
}

type tagInput struct {
	ResourceArn string
	Tags        []tag
	TagKeys     []string
}

type tagOutput struct {
	Tags []tag `json:",omitempty"`
}

func (s *Service) tagResource(in *tagInput, _ string) (*tagOutput, *wire.Error) {
	t, err := s.described(in.ResourceArn)
	if err != nil {
		return nil, err
	}
	for _, one := range in.Tags {
		t.tags[one.Key] = one.Value
	}
	return &tagOutput{}, nil
}

func (s *Service) untagResource(in *tagInput, _ string) (*tagOutput, *wire.Error) {
	t, err := s.described(in.ResourceArn)
	if err != nil {
		return nil, err
	}
	for _, key := range in.TagKeys {
		delete(t.tags, key)
	}
	return &tagOutput{}, nil
}

func (s *Service) listTags(in *tagInput, _ string) (*tagOutput, *wire.Error) {
	t, err := s.described(in.ResourceArn)
	if err != nil {
		return nil, err
	}
	out := &tagOutput{}
	for _, key := range slices.Sorted(maps.Keys(t.tags)) {
		out.Tags = append(out.Tags, tag{key, t.tags[key]})
	}
	return out, nil
}
