package storm

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Query is one query of a storm.
type Query struct {
	Number int    // in the storm's sequence, from 0
	Kind   string // what it asks
	SQL    string
}

// span is a stretch of whole days.
type span struct{ from, to time.Time }

// kinds are what Finance asks at the end of a quarter. They run on Redshift,
// PostgreSQL and DuckDB alike: sums are of decimals and whole numbers, so that no
// order of adding changes them, and what is cut off by LIMIT is ordered to the
// last row, so that the same data give the same result.
var kinds = []struct {
	name  string
	write func(rng *rand.Rand, s span, rows int) string
}{
	{"store-days", func(rng *rand.Rand, s span, _ int) string {
		return `SELECT store_id, DATE_TRUNC('day', event_timestamp) AS sales_day, COUNT(*) AS orders, SUM(item_count) AS items, SUM(total_amount) AS revenue
FROM fact_orders WHERE ` + s.where("event_timestamp") + someStores(rng, "store_id") + `
GROUP BY 1, 2 ORDER BY 1, 2`
	}},
	{"top-customers", func(rng *rand.Rand, s span, _ int) string {
		return `SELECT customer_id, COUNT(*) AS orders, SUM(total_amount) AS revenue, MIN(event_timestamp) AS first_seen, MAX(event_timestamp) AS last_seen
FROM fact_orders WHERE ` + s.where("event_timestamp") + `
GROUP BY customer_id ORDER BY revenue DESC, customer_id LIMIT ` + number(rng, 1000, 5000)
	}},
	{"cohorts", func(_ *rand.Rand, s span, _ int) string {
		return `SELECT f.cohort, DATE_TRUNC('month', o.event_timestamp) AS sales_month, COUNT(DISTINCT o.customer_id) AS customers, SUM(o.total_amount) AS revenue
FROM fact_orders o JOIN (SELECT customer_id, DATE_TRUNC('month', MIN(event_timestamp)) AS cohort FROM fact_orders
 WHERE ` + s.where("event_timestamp") + ` GROUP BY customer_id) f ON f.customer_id = o.customer_id
WHERE ` + s.where("o.event_timestamp") + `
GROUP BY 1, 2 ORDER BY 1, 2`
	}},
	{"hour-of-week", func(rng *rand.Rand, s span, _ int) string {
		return `SELECT EXTRACT(dow FROM event_timestamp) AS day_of_week, EXTRACT(hour FROM event_timestamp) AS hour_of_day, event_type,
 COUNT(*) AS orders, SUM(total_amount) AS revenue
FROM fact_orders WHERE ` + s.where("event_timestamp") + someStores(rng, "store_id") + `
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`
	}},
	{"shared-customers", func(rng *rand.Rand, s span, _ int) string {
		visits := `(SELECT customer_id, store_id, COUNT(*) AS visits FROM fact_orders WHERE ` + s.where("event_timestamp") + `
 GROUP BY customer_id, store_id)`
		return `SELECT a.store_id, b.store_id AS other_store, COUNT(*) AS customers, SUM(a.visits + b.visits) AS visits
FROM ` + visits + ` a JOIN ` + visits + ` b ON a.customer_id = b.customer_id AND a.store_id < b.store_id
GROUP BY 1, 2 ORDER BY customers DESC, 1, 2 LIMIT ` + number(rng, 500, 1000)
	}},
	{"export", func(rng *rand.Rand, s span, rows int) string {
		return `SELECT order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp
FROM fact_orders WHERE ` + s.where("event_timestamp") + ` AND item_count >= ` + number(rng, 0, 1) + `
ORDER BY order_id LIMIT ` + fmt.Sprint(rows)
	}},
	{"repeat-customers", func(_ *rand.Rand, s span, _ int) string {
		return `SELECT orders, COUNT(*) AS customers, SUM(revenue) AS revenue
FROM (SELECT customer_id, COUNT(*) AS orders, SUM(total_amount) AS revenue FROM fact_orders
 WHERE ` + s.where("event_timestamp") + ` GROUP BY customer_id) c
GROUP BY orders ORDER BY orders`
	}},
	{"baskets", func(rng *rand.Rand, s span, _ int) string {
		return `SELECT item_count, event_type, COUNT(*) AS orders, SUM(total_amount) AS revenue, MAX(total_amount) AS largest
FROM fact_orders WHERE ` + s.where("event_timestamp") + ` AND total_amount >= ` + number(rng, 0, 20) + `
GROUP BY 1, 2 ORDER BY 1, 2`
	}},
	{"best-stores-of-days", func(rng *rand.Rand, s span, _ int) string {
		return `SELECT sales_day, store_id, revenue, place
FROM (SELECT sales_day, store_id, revenue, ROW_NUMBER() OVER (PARTITION BY sales_day ORDER BY revenue DESC, store_id) AS place
 FROM (SELECT DATE_TRUNC('day', event_timestamp) AS sales_day, store_id, SUM(total_amount) AS revenue FROM fact_orders
  WHERE ` + s.where("event_timestamp") + ` GROUP BY 1, 2) d) r
WHERE place <= ` + number(rng, 5, 25) + ` ORDER BY sales_day, place`
	}},
	{"running-revenue", func(rng *rand.Rand, s span, _ int) string {
		return `SELECT store_id, sales_day, revenue, SUM(revenue) OVER (PARTITION BY store_id ORDER BY sales_day ROWS UNBOUNDED PRECEDING) AS so_far
FROM (SELECT store_id, DATE_TRUNC('day', event_timestamp) AS sales_day, SUM(total_amount) AS revenue FROM fact_orders
 WHERE ` + s.where("event_timestamp") + someStores(rng, "store_id") + ` GROUP BY 1, 2) d
ORDER BY store_id, sales_day`
	}},
	{"minutes", func(rng *rand.Rand, s span, rows int) string {
		return `SELECT minute, SUM(order_count) AS orders, SUM(item_count) AS items, SUM(revenue) AS revenue
FROM agg_orders_minute WHERE ` + s.where("minute") + someStores(rng, "store_id") + `
GROUP BY minute ORDER BY minute LIMIT ` + fmt.Sprint(rows)
	}},
	{"growth", func(_ *rand.Rand, s span, _ int) string {
		middle := s.from.Add(s.to.Sub(s.from) / 2).Truncate(24 * time.Hour)
		half := func(op string) string {
			return "CASE WHEN event_timestamp " + op + " " + day(middle) + " THEN total_amount ELSE 0 END"
		}
		return `SELECT store_id, SUM(` + half("<") + `) AS before, SUM(` + half(">=") + `) AS after, COUNT(DISTINCT customer_id) AS customers
FROM fact_orders WHERE ` + s.where("event_timestamp") + `
GROUP BY store_id ORDER BY store_id`
	}},
}

// Round is how many queries there are of each kind once: a round.
func Round() int { return len(kinds) }

// Sequence is the queries of one storm: query n is the same in every storm of
// the same seed over data that end on the same day.
type Sequence struct {
	seed uint64
	last time.Time // the first instant behind the newest whole day
	rows int
}

// days is how far back the storm looks: the quarter.
const days = 90

// NewSequence returns the queries over the 90 whole days before the day of
// newest, with at most rows rows each.
func NewSequence(seed uint64, newest time.Time, rows int) Sequence {
	return Sequence{seed: seed, last: newest.UTC().Truncate(24 * time.Hour), rows: rows}
}

// Query returns query n, from 0. Each round has one of each kind, in an order of
// its own and with parameters of its own, so that no cache of results answers.
func (q Sequence) Query(n int) Query {
	round := rand.New(rand.NewPCG(q.seed, uint64(n/len(kinds))))
	kind := kinds[round.Perm(len(kinds))[n%len(kinds)]]
	rng := rand.New(rand.NewPCG(q.seed+1, uint64(n)))
	length := 30 + rng.IntN(days-30+1)
	to := q.last.AddDate(0, 0, -rng.IntN(days-length+1))
	s := span{to.AddDate(0, 0, -length), to}
	return Query{Number: n, Kind: kind.name, SQL: kind.write(rng, s, q.rows)}
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

// Usage says what a storm would take of the account's quotas, at the most.
func Usage(d time.Duration, concurrency int) []string {
	n := d.Seconds()
	return []string{
		fmt.Sprintf("up to %d active statements of the account's 200 to 500", concurrency),
		fmt.Sprintf("up to %d ExecuteStatement calls a second (of 30), %.0f in all", submitRate, submitRate*n),
		fmt.Sprintf("up to %d DescribeStatement calls a second (of 100)", lookRate),
		fmt.Sprintf("up to %d GetStatementResult calls a second (of 20)", pageRate),
		fmt.Sprintf("%.2f hours of the warehouse under load: on Serverless that many times its RPUs are billed as RPU-hours", n/3600),
	}
}
