package storm

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// madeRows is how many rows a made-up page has: few, so that a processor can
// rest between two of them.
const madeRows = 50

var madeColumns = []string{"order_id", "customer_id", "store_id", "total_amount", "item_count", "event_type", "event_timestamp"}

// maker makes pages up that look like those of an export. It is not safe for
// concurrent use.
type maker struct{ rng *rand.Rand }

func newMaker(seed uint64, n int) *maker { return &maker{rand.New(rand.NewPCG(seed, uint64(n)))} }

func (m *maker) page() page {
	p := page{query: -1, columns: madeColumns, rows: make([][]warehouse.Value, madeRows)}
	for i := range p.rows {
		texts := [...]string{
			"order-" + strconv.FormatUint(m.rng.Uint64(), 36),
			fmt.Sprintf("customer-%05d", m.rng.IntN(100_000)),
			strconv.Itoa(m.rng.IntN(200)),
			fmt.Sprintf("%d.%02d", m.rng.IntN(200), m.rng.IntN(100)),
			strconv.Itoa(1 + m.rng.IntN(6)),
			"order_completed",
			time.Unix(1_790_000_000+m.rng.Int64N(7_776_000), 0).UTC().Format(time.DateTime),
		}
		row := make([]warehouse.Value, len(texts))
		for j, text := range texts {
			row[j].Text = text
			p.bytes += len(text)
		}
		p.rows[i] = row
	}
	return p
}
