// Package sts is the one call of the AWS Security Token Service that programs
// make to see who they are: GetCallerIdentity, over the Query protocol.
package sts

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

const (
	apiVersion = "2011-06-15"
	namespace  = "https://sts.amazonaws.com/doc/2011-06-15/"
	account    = "000000000000"
)

// Service is STS. It implements wire.Service.
type Service struct{}

// New returns the service, which keeps nothing.
func New() *Service { return &Service{} }

// Name is "sts".
func (*Service) Name() string { return "sts" }

// Operations are those that are served.
func (*Service) Operations() []string {
	return []string{"GetCallerIdentity"}
}

// Match takes the forms that carry the API version of STS.
func (*Service) Match(r *http.Request, body []byte) (string, bool) {
	form, ok := formOf(r, body)
	if !ok || form.Get("Version") != apiVersion {
		return "", false
	}
	return form.Get("Action"), true
}

// formOf is the request's form. Clients may also put it into the URL.
func formOf(r *http.Request, body []byte) (url.Values, bool) {
	if r.URL.Path != "/" && r.URL.Path != "" {
		return nil, false
	}
	text := r.URL.RawQuery
	if r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		text = string(body)
	}
	form, err := url.ParseQuery(text)
	return form, err == nil
}

type identity struct {
	Arn     string
	UserID  string `xml:"UserId"`
	Account string
}

// Serve answers one call. Any credentials are those of the account's root.
func (s *Service) Serve(w http.ResponseWriter, r *http.Request, operation string, _ []byte) {
	if operation != "GetCallerIdentity" {
		s.Refuse(w, r, wire.UnknownAction(operation, apiVersion))
		return
	}
	wire.WriteQueryResult(w, namespace, operation, identity{Arn: "arn:aws:iam::" + account + ":root", UserID: account, Account: account})
}

// Refuse answers with the error in XML.
func (*Service) Refuse(w http.ResponseWriter, _ *http.Request, e *wire.Error) {
	wire.WriteQueryError(w, w.Header().Get("X-Amzn-Requestid"), e)
}

// Throttled is Throttling.
func (*Service) Throttled() *wire.Error { return wire.Errorf("Throttling", "Rate exceeded") }
