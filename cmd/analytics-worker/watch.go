package main

import (
	"github.com/cloudcafe/analytics-worker/internal/admin"
	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/vitals"
)

// vitals is what the judgement of the worker takes from the program.
func (c config) vitals(account *aws.Account, p *metrics.Publisher, m *manager, recent *admin.Recent) vitals.Config {
	v := vitals.Config{Names: c.verdictNames(account), NextStep: nextStepOf, Problems: recent.Since, Hangs: m.hanging}
	if p != nil {
		v.Publishes = p.Failing
	}
	return v
}

// verdictNames are what the commands to paste name.
func (c config) verdictNames(account *aws.Account) verdict.Names {
	n := verdict.Names{Stream: account.Stream(c.Stream).Name(), LeaseTable: c.leaseTableName(account), Letters: c.lettersInFull()}
	if n.Workgroup = c.Redshift.Workgroup; n.Workgroup == "" {
		n.Cluster = c.Redshift.ClusterID
	}
	return n
}
