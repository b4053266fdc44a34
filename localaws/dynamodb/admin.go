package dynamodb

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// account stands in ARNs, where AWS has the number of the account.
const account = "000000000000"

type attributeDefinition struct {
	AttributeName string
	AttributeType kind
}

type keyElement struct {
	AttributeName string
	KeyType       string
}

type throughput struct {
	ReadCapacityUnits, WriteCapacityUnits int64
}

type projection struct {
	ProjectionType   string
	NonKeyAttributes []string `json:",omitempty"`
}

type indexInput struct {
	IndexName             string
	KeySchema             []keyElement
	Projection            projection
	ProvisionedThroughput *throughput
}

type tag struct{ Key, Value string }

type createTableInput struct {
	TableName                 string
	AttributeDefinitions      []attributeDefinition
	KeySchema                 []keyElement
	GlobalSecondaryIndexes    []indexInput
	LocalSecondaryIndexes     []indexInput
	BillingMode               string
	ProvisionedThroughput     *throughput
	DeletionProtectionEnabled bool
	Tags                      []tag
}

type tableDescription struct {
	TableName                 string
	TableStatus               string
	TableArn                  string
	TableId                   string //nolint:revive // the API's spelling
	CreationDateTime          float64
	AttributeDefinitions      []attributeDefinition
	KeySchema                 []keyElement
	ItemCount, TableSizeBytes int
	ProvisionedThroughput     throughputDescription
	BillingModeSummary        *billingSummary `json:",omitempty"`
	DeletionProtectionEnabled bool
	GlobalSecondaryIndexes    []indexDescription `json:",omitempty"`
	LocalSecondaryIndexes     []indexDescription `json:",omitempty"`
}

type throughputDescription struct {
	throughput
	NumberOfDecreasesToday int
}

type billingSummary struct {
	BillingMode string
}

type indexDescription struct {
	IndexName                 string
	IndexArn                  string
	IndexStatus               string `json:",omitempty"` // of global ones
	KeySchema                 []keyElement
	Projection                projection
	ProvisionedThroughput     *throughputDescription `json:",omitempty"`
	IndexSizeBytes, ItemCount int
}

type tableOutput struct {
	TableDescription *tableDescription `json:",omitempty"`
	Table            *tableDescription `json:",omitempty"` // DescribeTable's word for it
}

type tableInput struct{ TableName string }

// tableName is the name in a name or an ARN.
func tableName(nameOrARN string) string {
	if _, name, ok := strings.Cut(nameOrARN, ":table/"); ok {
		return name
	}
	return nameOrARN
}

// table finds a table for an operation on items.
func (s *Service) table(nameOrARN string) (*table, *wire.Error) {
	if err := checkTableName(nameOrARN); err != nil {
		return nil, err
	}
	if t := s.tables[tableName(nameOrARN)]; t != nil {
		return t, nil
	}
	return nil, wire.Errorf("ResourceNotFoundException", "Requested resource not found")
}

// described finds a table for an operation on tables, whose errors name it.
func (s *Service) described(nameOrARN string) (*table, *wire.Error) {
	t, err := s.table(nameOrARN)
	if err != nil && err.Code == "ResourceNotFoundException" {
		err = wire.Errorf(err.Code, "Requested resource not found: Table: %s not found", tableName(nameOrARN))
	}
	return t, err
}

func checkTableName(nameOrARN string) *wire.Error {
	if nameOrARN == "" {
		return wire.Errorf("ValidationException", "The parameter 'TableName' is required but was not present in the request")
	}
	name := tableName(nameOrARN)
	if len(name) < 3 || len(name) > 255 {
		return wire.Errorf("ValidationException", "TableName must be at least 3 characters long and at most 255 characters long")
	}
	if !plainName(name) {
		return wire.Errorf("ValidationException", "1 validation error detected: Value '%s' at 'tableName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+", name)
	}
	return nil
}

func plainName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r > 127 || !isWord(byte(r)) && r != '.' && r != '-'
	})
}

func (s *Service) createTable(in *createTableInput, region string) (*tableOutput, *wire.Error) {
	if err := checkTableName(in.TableName); err != nil {
		return nil, err
	}
	kinds, err := definitions(in.AttributeDefinitions)
	if err != nil {
		return nil, err
	}
	t := &table{
		name: in.TableName, region: region, attributes: in.AttributeDefinitions, created: time.Now(),
		billing: in.BillingMode, protected: in.DeletionProtectionEnabled, tags: map[string]string{},
	}
	used := map[string]bool{}
	if t.keys, err = schemaOf(in.KeySchema, kinds, used); err != nil {
		return nil, err
	}
	if err := t.bill(in.BillingMode, in.ProvisionedThroughput); err != nil {
		return nil, err
	}
	for _, g := range in.GlobalSecondaryIndexes {
		if err := t.addIndex(g, false, kinds, used); err != nil {
			return nil, err
		}
	}
	for _, l := range in.LocalSecondaryIndexes {
		if err := t.addIndex(l, true, kinds, used); err != nil {
			return nil, err
		}
	}
	if len(used) != len(kinds) {
		return nil, wire.Errorf("ValidationException", "One or more parameter values were invalid: Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions")
	}
	if s.tables[t.name] != nil {
		return nil, wire.Errorf("ResourceInUseException", "Table already exists: %s", t.name)
	}
	for _, one := range in.Tags {
		t.tags[one.Key] = one.Value
	}
	s.tables[t.name] = t
	// The answer is CREATING, as it always is; the table can be used at once.
	return &tableOutput{TableDescription: t.describe("CREATING")}, nil
}

// definitions are the types of the attributes by name.
func definitions(defs []attributeDefinition) (map[string]kind, *wire.Error) {
	out := map[string]kind{}
	for _, d := range defs {
		if !ordered(d.AttributeType) {
			return nil, wire.Errorf("ValidationException", "1 validation error detected: Value '%s' at 'attributeDefinitions.attributeType' failed to satisfy constraint: Member must satisfy enum value set: [B, N, S]", d.AttributeType)
		}
		if _, twice := out[d.AttributeName]; twice || d.AttributeName == "" {
			return nil, wire.Errorf("ValidationException", "One or more parameter values were invalid: Duplicate or empty AttributeName in AttributeDefinitions: %s", d.AttributeName)
		}
		out[d.AttributeName] = d.AttributeType
	}
	return out, nil
}

// schemaOf checks a key schema; used collects the attributes that it uses.
func schemaOf(elements []keyElement, kinds map[string]kind, used map[string]bool) (keySchema, *wire.Error) {
	var k keySchema
	if len(elements) < 1 || len(elements) > 2 {
		return k, wire.Errorf("ValidationException", "1 validation error detected: Value at 'keySchema' failed to satisfy constraint: Member must have length between 1 and 2")
	}
	if elements[0].KeyType != "HASH" {
		return k, wire.Errorf("ValidationException", "Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
	}
	if len(elements) == 2 && elements[1].KeyType != "RANGE" {
		return k, wire.Errorf("ValidationException", "Invalid KeySchema: The second KeySchemaElement is not a RANGE key type")
	}
	for _, e := range elements {
		if _, ok := kinds[e.AttributeName]; !ok {
			return k, wire.Errorf("ValidationException", "One or more parameter values were invalid: Some index key attributes are not defined in AttributeDefinitions. Keys: [%s], AttributeDefinitions: [%s]",
				e.AttributeName, strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
		}
		used[e.AttributeName] = true
	}
	k.hash, k.hashKind = elements[0].AttributeName, kinds[elements[0].AttributeName]
	if len(elements) == 2 {
		k.sort, k.sortKind = elements[1].AttributeName, kinds[elements[1].AttributeName]
		if k.sort == k.hash {
			return k, wire.Errorf("ValidationException", "Invalid KeySchema: Both the Hash Key and the Range Key element in the KeySchema have the same name")
		}
	}
	return k, nil
}

// bill sets how the table is paid for, which decides whether throughput is to be given.
func (t *table) bill(mode string, units *throughput) *wire.Error {
	switch mode {
	case "", "PROVISIONED":
		if units == nil || units.ReadCapacityUnits < 1 || units.WriteCapacityUnits < 1 {
			return wire.Errorf("ValidationException", "One or more parameter values were invalid: ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED")
		}
		t.throughput = *units
	case "PAY_PER_REQUEST":
		if units != nil && (units.ReadCapacityUnits != 0 || units.WriteCapacityUnits != 0) {
			return wire.Errorf("ValidationException", "One or more parameter values were invalid: Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST")
		}
		t.throughput = throughput{}
	default:
		return wire.Errorf("ValidationException", "1 validation error detected: Value '%s' at 'billingMode' failed to satisfy constraint: Member must satisfy enum value set: [PROVISIONED, PAY_PER_REQUEST]", mode)
	}
	t.billing = mode
	return nil
}

func (t *table) addIndex(in indexInput, local bool, kinds map[string]kind, used map[string]bool) *wire.Error {
	keys, err := schemaOf(in.KeySchema, kinds, used)
	if err != nil {
		return err
	}
	switch {
	case len(in.IndexName) < 3 || len(in.IndexName) > 255 || !plainName(in.IndexName):
		return wire.Errorf("ValidationException", "Invalid index name: %q", in.IndexName)
	case t.index(in.IndexName) != nil:
		return wire.Errorf("ValidationException", "One or more parameter values were invalid: Duplicate index name: %s", in.IndexName)
	case local && (keys.hash != t.keys.hash || keys.sort == ""):
		return wire.Errorf("ValidationException", "One or more parameter values were invalid: Index KeySchema does not have the table's hash key and a range key for index: %s", in.IndexName)
	case !slices.Contains([]string{"ALL", "KEYS_ONLY", "INCLUDE"}, in.Projection.ProjectionType):
		return wire.Errorf("ValidationException", "One or more parameter values were invalid: Unknown ProjectionType: %s", in.Projection.ProjectionType)
	case (in.Projection.ProjectionType == "INCLUDE") != (len(in.Projection.NonKeyAttributes) > 0):
		return wire.Errorf("ValidationException", "One or more parameter values were invalid: ProjectionType is %s, and NonKeyAttributes go with INCLUDE only", in.Projection.ProjectionType)
	}
	ix := &index{name: in.IndexName, local: local, keys: keys, projection: in.Projection.ProjectionType, include: in.Projection.NonKeyAttributes}
	if in.ProvisionedThroughput != nil {
		ix.throughput = *in.ProvisionedThroughput
	}
	t.indexes = append(t.indexes, ix)
	return nil
}

func (k keySchema) describe() []keyElement {
	out := []keyElement{{k.hash, "HASH"}}
	if k.sort != "" {
		out = append(out, keyElement{k.sort, "RANGE"})
	}
	return out
}

func (t *table) arn() string {
	return fmt.Sprintf("arn:aws:dynamodb:%s:%s:table/%s", t.region, account, t.name)
}

func (t *table) describe(status string) *tableDescription {
	d := &tableDescription{
		TableName: t.name, TableStatus: status, TableArn: t.arn(),
		TableId:              fmt.Sprintf("00000000-0000-4000-8000-%012x", t.created.UnixMicro()&0xffffffffffff),
		CreationDateTime:     float64(t.created.UnixMilli()) / 1000,
		AttributeDefinitions: t.attributes, KeySchema: t.keys.describe(),
		ItemCount: len(t.rows), TableSizeBytes: t.size,
		ProvisionedThroughput:     throughputDescription{throughput: t.throughput},
		DeletionProtectionEnabled: t.protected,
	}
	if t.billing == "PAY_PER_REQUEST" {
		d.BillingModeSummary = &billingSummary{t.billing}
	}
	for _, ix := range t.indexes {
		one := indexDescription{
			IndexName: ix.name, IndexArn: t.arn() + "/index/" + ix.name, KeySchema: ix.keys.describe(),
			Projection: projection{ix.projection, ix.include},
		}
		for _, r := range ix.in(t) {
			one.ItemCount++
			one.IndexSizeBytes += r.item.bytes()
		}
		if ix.local {
			d.LocalSecondaryIndexes = append(d.LocalSecondaryIndexes, one)
			continue
		}
		one.IndexStatus = "ACTIVE"
		one.ProvisionedThroughput = &throughputDescription{throughput: ix.throughput}
		d.GlobalSecondaryIndexes = append(d.GlobalSecondaryIndexes, one)
	}
	return d
}

func (s *Service) describeTable(in *tableInput, _ string) (*tableOutput, *wire.Error) {
	t, err := s.described(in.TableName)
	if err != nil {
		return nil, err
	}
	return &tableOutput{Table: t.describe("ACTIVE")}, nil
}

func (s *Service) deleteTable(in *tableInput, _ string) (*tableOutput, *wire.Error) {
	t, err := s.described(in.TableName)
	if err != nil {
		return nil, err
	}
	if t.protected {
		return nil, wire.Errorf("ValidationException", "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.")
	}
	delete(s.tables, t.name)
	return &tableOutput{TableDescription: t.describe("DELETING")}, nil
}
