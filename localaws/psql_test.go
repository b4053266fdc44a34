package localaws_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/redshift"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	"github.com/jackc/pgx/v5"

	"github.com/cloudcafe/analytics-worker/localaws"
)

// serve serves a local AWS until the test ends: its services on web, and its SQL at url.
func serve(t *testing.T, c localaws.Config) (web *httptest.Server, sql net.Listener, url string) {
	t.Helper()
	server, err := localaws.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	sql, err = net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.ServePSQL(ctx, sql) }()
	web = httptest.NewServer(server.Handler())
	t.Cleanup(func() {
		web.Close()
		stop()
		if err := errors.Join(<-done, server.Close()); err != nil {
			t.Error(err)
		}
	})
	return web, sql, "postgres://anybody@" + sql.Addr().String() + "/analytics"
}

// The cluster that a statement names is in the list, with the address of its SQL.
func TestTheClusterOfAStatementIsListed(t *testing.T) {
	web, listener, url := serve(t, localaws.Config{Tiny: true})
	conn, err := pgx.Connect(t.Context(), url) // it is served
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close(t.Context())
	settings := aws.Config{Region: "us-east-1", BaseEndpoint: &web.URL, HTTPClient: web.Client(), Credentials: credentials.NewStaticCredentialsProvider("local", "local", "")}
	data := redshiftdata.NewFromConfig(settings)
	if _, err := data.ExecuteStatement(t.Context(), &redshiftdata.ExecuteStatementInput{
		ClusterIdentifier: aws.String("shop"), Database: aws.String("dev"), DbUser: aws.String("admin"), Sql: aws.String("SELECT 1"),
	}); err != nil {
		t.Fatal(err)
	}
	out, err := redshift.NewFromConfig(settings).DescribeClusters(t.Context(), &redshift.DescribeClustersInput{})
	if err != nil || len(out.Clusters) != 1 || aws.ToString(out.Clusters[0].ClusterIdentifier) != "shop" {
		t.Fatalf("%+v, %v", out, err)
	}
	at, want := out.Clusters[0].Endpoint, listener.Addr().(*net.TCPAddr)
	if at == nil || aws.ToString(at.Address) != "127.0.0.1" || int(aws.ToInt32(at.Port)) != want.Port {
		t.Errorf("its SQL is at %+v, want %v", at, want)
	}
}

// A reset ends the connections to the warehouse that was, and the port serves the new one.
func TestPSQLOutlivesAReset(t *testing.T) {
	web, _, url := serve(t, localaws.Config{Tiny: true, SQL: []string{"CREATE TABLE at_first (n INTEGER)"}})
	first, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close(context.Background()) }() // the reset has ended it
	if _, err := first.Exec(t.Context(), "CREATE TABLE later (n INTEGER)"); err != nil {
		t.Fatal(err)
	}
	reply, err := http.Post(web.URL+"/_localaws/reset", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		t.Fatal(reply.Status)
	}
	if _, err := first.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("a connection to the warehouse before the reset goes on")
	}
	second, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Close(context.Background()) }() // there is nothing left to do
	if _, err := second.Exec(t.Context(), "SELECT n FROM at_first"); err != nil {
		t.Error(err)
	}
	if _, err := second.Exec(t.Context(), "SELECT n FROM later"); err == nil {
		t.Error("a table from before the reset is there")
	}
}
