package storm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// Query is one query of a storm.
type Query struct {
	Number int    `json:"number"` // in the storm's sequence, from 0
	Kind   string `json:"kind"`   // what it asks
	Pages  int    `json:"pages"`  // of its result, about
	SQL    string `json:"sql"`
}

// span is a stretch of whole days.
type span struct{ from, to time.Time }

// tables are what the queries ask, as statements name them.
type tables struct{ orders, minutes string }

func tablesIn(n warehouse.Names) tables {
	facts, minutes := n.Orders()
	return tables{facts, minutes}
}

// pageRows is how many rows a page of the Data API has, about.
const pageRows = 1000

// kinds are what Finance asks at the end of a quarter. They run on Redshift,
// PostgreSQL and DuckDB alike: sums are of decimals and whole numbers, so that no
// order of adding changes them, and what is cut off by LIMIT is ordered to the
// last row, so that the same data give the same result. Most of what is asked has a
// page or a few: the account reads 20 pages a second, and a quarter of a million rows
// takes all of that for 13 s.
var kinds = []struct {
	name  string
	times int // in a round
	pages int // of a result, about; 0 = as many as the most rows fill
	top   int // how many rows are asked, drawn from a fifth of it up; 0 = as many as there are
	write func(rng *rand.Rand, t tables, s span) string
}{
	{"store-days", 3, 8, 0, func(rng *rand.Rand, t tables, s span) string {
		return `SELECT store_id, DATE_TRUNC('day', event_timestamp) AS sales_day, COUNT(*) AS orders, SUM(item_count) AS items, SUM(total_amount) AS revenue
FROM ` + t.orders + ` WHERE ` + s.where("event_timestamp") + someStores(rng, "store_id") + `
GROUP BY 1, 2 ORDER BY 1, 2`
	}},
	{"top-customers", 4, 3, 5000, func(rng *rand.Rand, t tables, s span) string {
		return `SELECT customer_id, COUNT(*) AS orders, SUM(total_amount) AS revenue, MIN(event_timestamp) AS first_seen, MAX(event_timestamp) AS last_seen
FROM ` + t.orders + ` WHERE ` + s.where("event_timestamp") + `
GROUP BY customer_id ORDER BY revenue DESC, customer_id`
	}},
	{"cohorts", 6, 1, 0, func(_ *rand.Rand, t tables, s span) string {
		return `SELECT f.cohort, DATE_TRUNC('month', o.event_timestamp) AS sales_month, COUNT(DISTINCT o.customer_id) AS customers, SUM(o.total_amount) AS revenue
FROM ` + t.orders + ` o JOIN (SELECT customer_id, DATE_TRUNC('month', MIN(event_timestamp)) AS cohort FROM ` + t.orders + `
 WHERE ` + s.where("event_timestamp") + ` GROUP BY customer_id) f ON f.customer_id = o.customer_id
WHERE ` + s.where("o.event_timestamp") + `
GROUP BY 1, 2 ORDER BY 1, 2`
	}},
	{"hour-of-week", 6, 1, 0, func(rng *rand.Rand, t tables, s span) string {
		return `SELECT EXTRACT(dow FROM event_timestamp) AS day_of_week, EXTRACT(hour FROM event_timestamp) AS hour_of_day, event_type,
 COUNT(*) AS orders, SUM(total_amount) AS revenue
FROM ` + t.orders + ` WHERE ` + s.where("event_timestamp") + someStores(rng, "store_id") + `
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`
	}},
	{"shared-customers", 3, 1, 1000, func(rng *rand.Rand, t tables, s span) string {
		visits := `(SELECT customer_id, store_id, COUNT(*) AS visits FROM ` + t.orders + ` WHERE ` + s.where("event_timestamp") + `
 GROUP BY customer_id, store_id)`
		return `SELECT a.store_id, b.store_id AS other_store, COUNT(*) AS customers, SUM(a.visits + b.visits) AS visits
FROM ` + visits + ` a JOIN ` + visits + ` b ON a.customer_id = b.customer_id AND a.store_id < b.store_id
GROUP BY 1, 2 ORDER BY customers DESC, 1, 2`
	}},
	{"export", 1, 0, 0, func(rng *rand.Rand, t tables, s span) string {
		return `SELECT order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp
FROM ` + t.orders + ` WHERE ` + s.where("event_timestamp") + ` AND item_count >= ` + number(rng, 0, 1) + `
ORDER BY order_id`
	}},
	{"repeat-customers", 6, 1, 0, func(_ *rand.Rand, t tables, s span) string {
		return `SELECT orders, COUNT(*) AS customers, SUM(revenue) AS revenue
FROM (SELECT customer_id, COUNT(*) AS orders, SUM(total_amount) AS revenue FROM ` + t.orders + `
 WHERE ` + s.where("event_timestamp") + ` GROUP BY customer_id) c
GROUP BY orders ORDER BY orders`
	}},
	{"baskets", 6, 1, 0, func(rng *rand.Rand, t tables, s span) string {
		return `SELECT item_count, event_type, COUNT(*) AS orders, SUM(total_amount) AS revenue, MAX(total_amount) AS largest
FROM ` + t.orders + ` WHERE ` + s.where("event_timestamp") + ` AND total_amount >= ` + number(rng, 0, 20) + `
GROUP BY 1, 2 ORDER BY 1, 2`
	}},
	{"best-stores-of-days", 4, 2, 0, func(rng *rand.Rand, t tables, s span) string {
		return `SELECT sales_day, store_id, revenue, place
FROM (SELECT sales_day, store_id, revenue, ROW_NUMBER() OVER (PARTITION BY sales_day ORDER BY revenue DESC, store_id) AS place
 FROM (SELECT DATE_TRUNC('day', event_timestamp) AS sales_day, store_id, SUM(total_amount) AS revenue FROM ` + t.orders + `
  WHERE ` + s.where("event_timestamp") + ` GROUP BY 1, 2) d) r
WHERE place <= ` + number(rng, 5, 25) + ` ORDER BY sales_day, place`
	}},
	{"running-revenue", 2, 8, 0, func(rng *rand.Rand, t tables, s span) string {
		return `SELECT store_id, sales_day, revenue, SUM(revenue) OVER (PARTITION BY store_id ORDER BY sales_day ROWS UNBOUNDED PRECEDING) AS so_far
FROM (SELECT store_id, DATE_TRUNC('day', event_timestamp) AS sales_day, SUM(total_amount) AS revenue FROM ` + t.orders + `
 WHERE ` + s.where("event_timestamp") + someStores(rng, "store_id") + ` GROUP BY 1, 2) d
ORDER BY store_id, sales_day`
	}},
	{"minutes", 2, 10, 0, func(rng *rand.Rand, t tables, s span) string {
		s.to = s.from.AddDate(0, 0, 7)
		return `SELECT minute, SUM(order_count) AS orders, SUM(item_count) AS items, SUM(revenue) AS revenue
FROM ` + t.minutes + ` WHERE ` + s.where("minute") + someStores(rng, "store_id") + `
GROUP BY minute ORDER BY minute`
	}},
	{"growth", 5, 1, 0, func(_ *rand.Rand, t tables, s span) string {
		middle := s.from.Add(s.to.Sub(s.from) / 2).Truncate(24 * time.Hour)
		half := func(op string) string {
			return "CASE WHEN event_timestamp " + op + " " + day(middle) + " THEN total_amount ELSE 0 END"
		}
		return `SELECT store_id, SUM(` + half("<") + `) AS before, SUM(` + half(">=") + `) AS after, COUNT(DISTINCT customer_id) AS customers
FROM ` + t.orders + ` WHERE ` + s.where("event_timestamp") + `
GROUP BY store_id ORDER BY store_id`
	}},
}

// round is the kinds of a round, not yet shuffled.
var round = func() []int {
	var out []int
	for i, k := range kinds {
		for range k.times {
			out = append(out, i)
		}
	}
	return out
}()

// Round is how many queries there are in a round, which has each kind as often as
// it is asked.
func Round() int { return len(round) }

// Sequence is the queries of one storm: query n is the same in every storm of
// the same seed over data that end on the same day.
type Sequence struct {
	seed uint64
	last time.Time // the first instant behind the newest whole day
	rows int
	tables
}

// days is how far back the storm looks: the quarter.
const days = 90

// NewSequence returns the queries over the 90 whole days before the day of
// newest, with at most rows rows each.
func NewSequence(seed uint64, newest time.Time, rows int) Sequence {
	return Sequence{seed: seed, last: newest.UTC().Truncate(24 * time.Hour), rows: rows, tables: tablesIn(warehouse.Names{})}
}

// Until is the first instant behind the days that the queries look at.
func (q Sequence) Until() time.Time { return q.last }

// Rows is how many rows a result has at the most.
func (q Sequence) Rows() int { return q.rows }

// In is the sequence for tables that are named so.
func (q Sequence) In(n warehouse.Names) Sequence {
	q.tables = tablesIn(n)
	return q
}

// Query returns query n, from 0. Each round has the same kinds, in an order of its
// own and with parameters of its own, so that no cache of results answers.
func (q Sequence) Query(n int) Query {
	kind := kinds[q.kind(n)]
	rng := rand.New(rand.NewPCG(q.seed+1, uint64(n)))
	length := 30 + rng.IntN(days-30+1)
	to := q.last.AddDate(0, 0, -rng.IntN(days-length+1))
	s := span{to.AddDate(0, 0, -length), to}
	sql, rows := kind.write(rng, q.tables, s), q.rows
	if kind.top > 0 {
		rows = min(rows, kind.top/5+rng.IntN(kind.top*4/5+1))
	}
	out := Query{Number: n, Kind: kind.name, Pages: (rows + pageRows - 1) / pageRows, SQL: sql + " LIMIT " + strconv.Itoa(rows)}
	if kind.pages > 0 {
		out.Pages = min(out.Pages, kind.pages)
	}
	return out
}

// kind draws the kind of query n. The export is in the second half of its round:
// its pages take seconds to fetch, and a short storm too is to get somewhere.
func (q Sequence) kind(n int) int {
	order := rand.New(rand.NewPCG(q.seed, uint64(n/Round()))).Perm(Round())
	half := Round() / 2
	for i, o := range order[:half] {
		if kinds[round[o]].pages == 0 {
			order[i], order[i+half] = order[i+half], order[i]
		}
	}
	return round[order[n%Round()]]
}

// Of returns how often each kind comes in a round, by its name.
func (q Sequence) Of(kind string) int {
	for _, k := range kinds {
		if k.name == kind {
			return k.times
		}
	}
	return 0
}

// Number is how many queries a storm of that length starts at the most: what
// ExecuteStatement takes, or what can be read of their results, whichever is less.
func (q Sequence) Number(d time.Duration) int {
	pages := 0
	for n := range Round() {
		pages += q.Query(n).Pages
	}
	each := max(float64(pages)/float64(Round())/pageRate, 1.0/submitRate)
	return int(math.Ceil(d.Seconds() / each))
}

func day(t time.Time) string { return "'" + t.Format("2006-01-02") + " 00:00:00'" }

func (s span) where(column string) string {
	return column + " >= " + day(s.from) + " AND " + column + " < " + day(s.to)
}

func number(rng *rand.Rand, from, to int) string { return fmt.Sprint(from + rng.IntN(to-from+1)) }

// someStores leaves a drawn share of the stores out.
func someStores(rng *rand.Rand, column string) string {
	of := 3 + rng.IntN(5)
	var out []string
	for i := range of {
		if rng.IntN(3) > 0 || len(out) == 0 && i == of-1 {
			out = append(out, fmt.Sprint(i))
		}
	}
	return fmt.Sprintf(" AND MOD(%s, %d) IN (%s)", column, of, strings.Join(out, ", "))
}

// Usage says what a storm would take of the account's quotas, at the most, and
// what that costs.
func (q Sequence) Usage(d time.Duration, concurrency int) []string {
	n := d.Seconds()
	return []string{
		fmt.Sprintf("about %d queries, as fast as their results can be read", q.Number(d)),
		fmt.Sprintf("up to %d active statements of the account's 200 to 500", concurrency),
		fmt.Sprintf("up to %d ExecuteStatement calls a second (of 30)", submitRate),
		fmt.Sprintf("up to %d DescribeStatement calls a second (of 100), %.0f in all", lookRate, lookRate*n),
		fmt.Sprintf("up to %d GetStatementResult calls a second (of 20), %.0f in all", pageRate, pageRate*n),
		fmt.Sprintf("up to %d CancelStatement calls a second (of 3), at the end", cancelRate),
		fmt.Sprintf("the Data API costs nothing; a provisioned cluster nothing more; a Serverless workgroup bills %.2f hours of the RPUs that it runs at:", n/3600),
		fmt.Sprintf("  with 128 RPUs (the default base) %.1f RPU-hours, about %.2f USD at 0.375 USD (us-east-1)", 128*n/3600, 128*n/3600*0.375),
	}
}
