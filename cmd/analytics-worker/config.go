package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// config is every setting of the worker. Settings come from the environment
// alone, which is where a systemd unit and a container both put them.
type config struct {
	Stream      string
	Redshift    aws.RedshiftConfig
	Region      string
	Environment string

	Families     []event.Family
	BatchSize    int
	PollInterval time.Duration
	LoadInterval time.Duration
	DrainTimeout time.Duration
	Initial      initialPosition

	StagingURL    string
	CopyIAMRole   string
	DeadLetterURL string
	LeaseTable    string

	MemoryLimit     int64 // bytes
	MetricsInterval time.Duration
	HTTPAddr        string
	HTTPAddrSet     bool // not left at its default
	LogFile         string
}

// setting is one environment variable: its name, what it is when unset, what it
// means, and how its text becomes part of a config.
type setting struct {
	name, initial, meaning string
	parse                  func(c *config, text string) error
}

// settings lists every variable, in the order in which they are documented.
func settings() []setting {
	return []setting{
		{"KINESIS_STREAM_NAME", "order-events", "stream to read, by name or ARN", parseStream},
		{"REDSHIFT_CLUSTER_ID", "cloudcafe-redshift-dev", "provisioned cluster; not used when REDSHIFT_WORKGROUP is set", text(func(c *config) *string { return &c.Redshift.ClusterID })},
		{"REDSHIFT_WORKGROUP", "", "serverless workgroup, in place of a cluster", text(func(c *config) *string { return &c.Redshift.Workgroup })},
		{"REDSHIFT_DATABASE", "analytics", "database", required(func(c *config) *string { return &c.Redshift.Database })},
		{"REDSHIFT_DB_USER", "admin", "database user on a cluster; empty = the IAM identity", text(func(c *config) *string { return &c.Redshift.DBUser })},
		{"REDSHIFT_SECRET_ARN", "", "Secrets Manager secret to log in with, in place of a user", parseSecret},
		{"REDSHIFT_SCHEMA", "", "schema of the worker's tables, in lower case; empty = the search path of the database user", parseSchema},
		{"AWS_REGION", "", "region; empty = AWS_DEFAULT_REGION, the profile's or the instance's, as any AWS program finds it, else us-east-1", text(func(c *config) *string { return &c.Region })},
		{"ENVIRONMENT", "dev", "value of the metrics' dimension Environment", parseEnvironment},
		{"FAMILIES", strings.Join(familyNames(), ","), "kinds of events that are loaded; others are rejected as family switched off, and redrive can bring them back later", parseFamilies},
		{"BATCH_SIZE", "100", "records that start a load, 1 to 100000", parseBatchSize},
		{"POLL_INTERVAL", "5", "wait between reads of a shard that is caught up, and longest wait of a record for a load: seconds, or \"500ms\"; 200ms to 5m", duration(func(c *config) *time.Duration { return &c.PollInterval }, 200*time.Millisecond, 5*time.Minute)},
		{"LOAD_INTERVAL", "1", "least time between the starts of two loads: the Data API's rates hold for the whole account", duration(func(c *config) *time.Duration { return &c.LoadInterval }, 0, 5*time.Minute)},
		{"DRAIN_TIMEOUT", "25", "longest time that a worker that is told to stop takes to load what it has read; a Spot notice gives what it leaves instead; 1s to 1h", duration(func(c *config) *time.Duration { return &c.DrainTimeout }, time.Second, time.Hour)},
		{"INITIAL_POSITION", "TRIM_HORIZON", "where a stream that was never read begins: TRIM_HORIZON, LATEST, AT_TIMESTAMP:2026-11-20T08:00:00Z, or AT_SEQUENCE_NUMBER:… / AFTER_SEQUENCE_NUMBER:… with a number, or shardId-…=number,…", func(c *config, s string) (err error) { c.Initial, err = parseInitial(s); return err }},
		{"STAGING_URL", "", "s3://bucket/prefix for COPY, the way for volume; empty = load by INSERT", parseStaging},
		{"COPY_IAM_ROLE", "", "ARN of the role that Redshift reads STAGING_URL with; empty = the cluster's default role", parseRole},
		{"DEAD_LETTER_URL", "file://dead-letters", "s3://bucket/prefix or file:///folder for rejected records", parseDeadLetters},
		{"LEASE_TABLE", "", "DynamoDB table that the workers of a stream share (KCL's layout), made if it is not there; empty = analytics-worker- and the stream's name; \"none\" = this is the only worker", parseLeaseTable},
		{"MEMORY_LIMIT", "256MiB", "memory of the process that it keeps to, 64MiB and up", parseMemory},
		{"METRICS_INTERVAL", "60", "seconds between publications of metrics; 0 = none", duration(func(c *config) *time.Duration { return &c.MetricsInterval }, 0, time.Hour)},
		{"HTTP_ADDR", "127.0.0.1:8080", "address of health checks, metrics and the dashboard; empty = off", parseHTTPAddr},
		{"LOG_FILE", "", "file that the log goes to as well, as JSON, which the CloudWatch agent can follow; moved to .1, .2 and .3 at 32 MiB; empty = none", text(func(c *config) *string { return &c.LogFile })},
	}
}

// loadConfig reads the settings from the environment. It reports everything
// that is wrong at once.
func loadConfig(lookup func(string) (string, bool)) (config, error) {
	var c config
	var wrong []error
	for _, s := range settings() {
		value, set := lookup(s.name)
		if !set {
			value = s.initial
		}
		if err := s.parse(&c, strings.TrimSpace(value)); err != nil {
			wrong = append(wrong, fmt.Errorf("%s=%s: %w", s.name, strconv.Quote(value), err))
		}
	}
	_, c.HTTPAddrSet = lookup("HTTP_ADDR")
	if c.Redshift.Workgroup != "" {
		if _, both := lookup("REDSHIFT_CLUSTER_ID"); both && c.Redshift.ClusterID != "" {
			wrong = append(wrong, errors.New("REDSHIFT_CLUSTER_ID and REDSHIFT_WORKGROUP are both set: keep the one that is the warehouse"))
		}
		c.Redshift.ClusterID, c.Redshift.DBUser = "", "" // a workgroup takes the IAM identity or a secret
	} else if c.Redshift.ClusterID == "" {
		wrong = append(wrong, errors.New("neither REDSHIFT_CLUSTER_ID nor REDSHIFT_WORKGROUP is set: name the warehouse"))
	}
	if c.Redshift.SecretARN != "" {
		c.Redshift.DBUser = "" // the secret names the user
	}
	if c.StagingURL == "" && c.CopyIAMRole != "" {
		wrong = append(wrong, errors.New("COPY_IAM_ROLE is set but STAGING_URL is not: COPY needs both"))
	}
	if len(wrong) > 0 {
		return c, &configError{wrong}
	}
	return c, nil
}

// configError is everything that is wrong with the settings.
type configError struct{ wrong []error }

func (e *configError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s wrong; see analytics-worker help settings for what each takes:", plural.Of(len(e.wrong), "setting"))
	for _, err := range e.wrong {
		b.WriteString("\n  " + err.Error())
	}
	return b.String()
}

func text(field func(*config) *string) func(*config, string) error {
	return func(c *config, s string) error { *field(c) = s; return nil }
}

func required(field func(*config) *string) func(*config, string) error {
	return func(c *config, s string) error {
		if s == "" {
			return errors.New("must not be empty")
		}
		*field(c) = s
		return nil
	}
}

// duration reads seconds ("5", "0.5") or a Go duration ("500ms").
func duration(field func(*config) *time.Duration, least, most time.Duration) func(*config, string) error {
	return func(c *config, s string) error {
		d, err := time.ParseDuration(s)
		if seconds, numeric := strconv.ParseFloat(s, 64); numeric == nil {
			d, err = time.Duration(seconds*float64(time.Second)), nil
			if seconds != seconds || seconds > most.Seconds() { // NaN and what overflows a Duration
				d = -1
			}
		}
		if err != nil {
			return errors.New(`not a number of seconds and not a duration like "500ms"`)
		}
		if d < least || d > most {
			return fmt.Errorf("must be from %v to %v", least, most)
		}
		*field(c) = d
		return nil
	}
}

// streamName is Kinesis's own rule: 1 to 128 of these characters.
var streamName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,128}$`)

func parseStream(c *config, s string) error {
	if !streamName.MatchString(s) && !strings.HasPrefix(s, "arn:") {
		return errors.New("not a stream name (1 to 128 letters, digits, '_', '-', '.') and not an ARN")
	}
	c.Stream = s
	return nil
}

func parseSecret(c *config, s string) error {
	if s != "" && !strings.HasPrefix(s, "arn:") {
		return errors.New("not an ARN")
	}
	c.Redshift.SecretARN = s
	return nil
}

func parseSchema(c *config, s string) (err error) {
	c.Redshift.Names, err = warehouse.NamesIn(s)
	return err
}

func parseEnvironment(c *config, s string) error {
	// CloudWatch's rules for a dimension's value: 1 to 1024 ASCII characters, not blank.
	if s == "" || len(s) > 1024 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return errors.New("must be 1 to 1024 printable ASCII characters")
	}
	c.Environment = s
	return nil
}

func familyNames() (names []string) {
	for _, f := range event.Families() {
		names = append(names, f.String())
	}
	return names
}

func parseFamilies(c *config, s string) error {
	for name := range strings.SplitSeq(s, ",") {
		family, known := event.ParseFamily(strings.TrimSpace(name))
		if !known {
			names := familyNames()
			last := len(names) - 1
			return fmt.Errorf("must be some of %s and %s, with commas between", strings.Join(names[:last], ", "), names[last])
		}
		if !slices.Contains(c.Families, family) {
			c.Families = append(c.Families, family)
		}
	}
	return nil
}

func parseBatchSize(c *config, s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 100_000 {
		return errors.New("must be a whole number from 1 to 100000")
	}
	c.BatchSize = n
	return nil
}

func parseStaging(c *config, s string) error {
	if s != "" {
		if err := checkURL(s, "s3"); err != nil {
			return err
		}
	}
	c.StagingURL = s
	return nil
}

func parseDeadLetters(c *config, s string) error {
	if err := checkURL(s, "s3", "file"); err != nil {
		return err
	}
	c.DeadLetterURL = s
	return nil
}

func checkURL(s string, schemes ...string) error {
	u, err := url.Parse(s)
	if err != nil || !slices.Contains(schemes, u.Scheme) || u.Host+u.Path == "" || u.Scheme == "s3" && u.Host == "" {
		return fmt.Errorf("not a URL like %s://…", strings.Join(schemes, "://… or "))
	}
	return nil
}

// tableName is DynamoDB's own rule: 3 to 255 of these characters.
var tableName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{3,255}$`)

func parseLeaseTable(c *config, s string) error {
	if s != "" && !tableName.MatchString(s) {
		return errors.New("not a table name: 3 to 255 letters, digits, '_', '-', '.'")
	}
	c.LeaseTable = s
	return nil
}

func parseRole(c *config, s string) error {
	if s != "" && s != "default" && !strings.HasPrefix(s, "arn:") {
		return errors.New("not an ARN")
	}
	c.CopyIAMRole = s
	return nil
}

func parseMemory(c *config, s string) error {
	n, err := parseBytes(s)
	if err != nil || n < 64<<20 {
		return errors.New(`must be a size like "256MiB", 64MiB or more`)
	}
	c.MemoryLimit = n
	return nil
}

// pageBytes is the part of MemoryLimit that pages may take: those being read, and
// those whose records wait or are being loaded. Beside it there is what a load
// makes of its records, at most as much again, and what the program takes by
// itself.
func (c config) pageBytes() int64 { return c.MemoryLimit / 10 * 3 }

// heapBytes is the part of MemoryLimit that Go's runtime may take. The rest is
// what it does not count: the program's own pages and those of the kernel.
func (c config) heapBytes() int64 { return min(c.MemoryLimit/10*9, c.MemoryLimit-programBytes) }

const programBytes = 16 << 20

// parseBytes reads a size: bytes, or with a unit (k, M, G for 1000s; Ki, Mi, Gi for 1024s; with or without B).
func parseBytes(s string) (int64, error) {
	number := strings.TrimRightFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	unit := strings.TrimSuffix(strings.TrimSpace(s[len(number):]), "B")
	scale, ok := map[string]float64{"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}[unit]
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !ok || n < 0 || n*scale > 1<<50 {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	return int64(n * scale), nil
}

func parseHTTPAddr(c *config, s string) error {
	if s != "" {
		host, port, err := net.SplitHostPort(s)
		if err != nil || port == "" || strings.ContainsAny(host, "/ ") {
			return errors.New("not host:port")
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return errors.New("the port is not a number from 0 to 65535")
		}
	}
	c.HTTPAddr = s
	return nil
}

// initialPosition is where shards of a stream that was never read begin.
type initialPosition struct {
	all     stream.Position            // for every shard; zero when byShard says it
	byShard map[string]stream.Position // shards that are not in it begin at the trim horizon
	latest  bool
}

// of is the position that a shard begins at. LATEST means the time at which the
// worker started, by the stream's clock: with a time, a restart before the first
// load loses nothing.
func (p initialPosition) of(s stream.Shard, started time.Time) stream.Position {
	switch at, named := p.byShard[s.ID]; {
	case named:
		return at
	case p.latest:
		return stream.AtTime(started)
	case !p.all.IsZero():
		return p.all
	}
	return stream.Position{Sequence: stream.TrimHorizon}
}

func parseInitial(s string) (initialPosition, error) {
	word, arg := s, ""
	if i := strings.IndexAny(s, ":= "); i >= 0 {
		word, arg = s[:i], strings.TrimSpace(s[i+1:])
	}
	switch word {
	case stream.TrimHorizon, stream.Latest:
		if arg != "" {
			return initialPosition{}, fmt.Errorf("%s takes nothing after it", word)
		}
		return initialPosition{all: stream.Position{Sequence: stream.TrimHorizon}, latest: word == stream.Latest}, nil
	case stream.AtTimestamp:
		at, err := parsePast(arg)
		if err != nil {
			return initialPosition{}, err
		}
		return initialPosition{all: stream.AtTime(at)}, nil
	case "AT_SEQUENCE_NUMBER":
		return parseSequences(arg, stream.BeforeSequence)
	case "AFTER_SEQUENCE_NUMBER":
		return parseSequences(arg, stream.AfterSequence)
	}
	return initialPosition{}, errors.New("must be TRIM_HORIZON, LATEST, AT_TIMESTAMP:…, AT_SEQUENCE_NUMBER:… or AFTER_SEQUENCE_NUMBER:…")
}

// instantGrace is how far ahead of our clock a time may lie that has passed: clocks
// differ.
const instantGrace = time.Minute

// parsePast reads a time that has passed. A position in the future is taken for a
// mistake: nothing would be read until then, and once a worker has written it into
// the warehouse, no setting undoes it.
func parsePast(s string) (time.Time, error) {
	at, err := parseInstant(s)
	if err == nil && time.Until(at) > instantGrace {
		err = fmt.Errorf("AT_TIMESTAMP %s is in the future: nothing would be read until then; for what arrives from now on, give LATEST", at.UTC().Format(time.RFC3339))
	}
	return at, err
}

// parseInstant reads a time with its zone, or epoch seconds.
func parseInstant(s string) (time.Time, error) {
	if seconds, err := strconv.ParseFloat(s, 64); err == nil && seconds >= 0 && seconds < 1e11 {
		return time.UnixMilli(int64(seconds * 1000)), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New(`AT_TIMESTAMP takes a time like "AT_TIMESTAMP:2026-11-20T08:00:00Z", or epoch seconds`)
}

var (
	sequence      = regexp.MustCompile(`^(0|[1-9]\d{0,128})$`)
	shardSequence = regexp.MustCompile(`^([a-zA-Z0-9_.-]{1,128})=(0|[1-9]\d{0,128})$`)
)

func parseSequences(s string, position func(string) stream.Position) (initialPosition, error) {
	if sequence.MatchString(s) {
		return initialPosition{all: position(s)}, nil
	}
	p := initialPosition{byShard: make(map[string]stream.Position)}
	for _, part := range strings.Split(s, ",") {
		m := shardSequence.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil {
			return p, fmt.Errorf("%q is not a sequence number, nor shardId-…=number", part)
		}
		p.byShard[m[1]] = position(m[2])
	}
	return p, nil
}
