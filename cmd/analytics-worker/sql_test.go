package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

const jsonProtocol = "application/x-amz-json-1.1"

// sql runs statements in the warehouse and waits for their end.
func (m *machine) sql(statements ...string) {
	m.t.Helper()
	m.ended("BatchExecuteStatement", map[string]any{"Sqls": append(statements, "SELECT 1")})
}

// rows runs a query and returns its rows, with blanks between fields and a
// semicolon between rows.
func (m *machine) rows(sql string) string {
	m.t.Helper()
	id := m.ended("ExecuteStatement", map[string]any{"Sql": sql})
	var out struct{ Records [][]map[string]any }
	if err := json.Unmarshal(m.post(jsonProtocol, "RedshiftData.GetStatementResult", `{"Id":"`+id+`"}`), &out); err != nil {
		m.t.Fatal(err)
	}
	var rows []string
	for _, record := range out.Records {
		var fields []string
		for _, field := range record {
			for _, v := range field {
				fields = append(fields, fmt.Sprint(v))
			}
		}
		rows = append(rows, strings.Join(fields, " "))
	}
	return strings.Join(rows, ";")
}

// ended submits statements and waits for their end.
func (m *machine) ended(operation string, members map[string]any) (id string) {
	m.t.Helper()
	members["Database"], members["ClusterIdentifier"], members["DbUser"] = "analytics", "c", "admin"
	in, err := json.Marshal(members)
	if err != nil {
		m.t.Fatal(err)
	}
	var out struct{ Id, Status, Error string }
	if err := json.Unmarshal(m.post(jsonProtocol, "RedshiftData."+operation, string(in)), &out); err != nil {
		m.t.Fatal(err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for out.Status != "FINISHED" {
		<-tick.C
		if err := json.Unmarshal(m.post(jsonProtocol, "RedshiftData.DescribeStatement", `{"Id":"`+out.Id+`"}`), &out); err != nil {
			m.t.Fatal(err)
		}
		if out.Status == "FAILED" || out.Status == "ABORTED" {
			m.t.Fatal(out.Error)
		}
	}
	return out.Id
}
