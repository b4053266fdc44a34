package event

import (
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestStoreID(t *testing.T) {
	for _, c := range []struct {
		json   string
		want   int32
		reason Reason
	}{
		{`0`, 0, ""},
		{`-0`, 0, ""},
		{`-5`, -5, ""},
		{`1.0`, 1, ""},
		{`1.50e1`, 15, ""},
		{`10e-1`, 1, ""},
		{`1E2`, 100, ""},
		{`0e999999999999`, 0, ""},
		{`0.000e-999999999999`, 0, ""},
		{`1` + strings.Repeat("0", 300) + `e-300`, 1, ""},
		{`0.` + strings.Repeat("0", 300) + `7e301`, 7, ""},
		{`3.` + strings.Repeat("0", 3000), 3, ""},
		{`2147483647`, 2147483647, ""},
		{`-2147483648`, -2147483648, ""},
		{`"1"`, 1, ""},
		{`"-5"`, -5, ""},
		{`"007"`, 7, ""},
		{`"1.0"`, 1, ""},
		{`"7.000e0"`, 7, ""},
		{`"1e2"`, 100, ""},
		{`"\u0037.0"`, 7, ""},
		{`"-.50e1"`, -5, ""},
		{`"\u0037"`, 7, ""},
		{`"-2147483648"`, -2147483648, ""},
		{`"` + strings.Repeat("0", 400) + `9"`, 9, ""},

		{`2147483648`, 0, "store_id out of 32 bits"},
		{`-2147483649`, 0, "store_id out of 32 bits"},
		{`4294967297`, 0, "store_id out of 32 bits"},
		{`18446744073709551617`, 0, "store_id out of 32 bits"},
		{`1e400`, 0, "store_id out of 32 bits"},
		{`-1e99999999999999999999`, 0, "store_id out of 32 bits"},
		{`"2147483648"`, 0, "store_id out of 32 bits"},
		{`"1e400"`, 0, "store_id out of 32 bits"},

		{`1.5`, 0, "store_id not an integer"},
		{`1e-1`, 0, "store_id not an integer"},
		{`1e-999999999`, 0, "store_id not an integer"},
		{`1.00000000000000000000000000001`, 0, "store_id not an integer"},
		{`""`, 0, "store_id not an integer"},
		{`"-"`, 0, "store_id not an integer"},
		{`"--1"`, 0, "store_id not an integer"},
		{`"+1"`, 0, "store_id not an integer"},
		{`" 1"`, 0, "store_id not an integer"},
		{`"1 "`, 0, "store_id not an integer"},
		{`"1.5"`, 0, "store_id not an integer"},
		{`"1."`, 0, "store_id not an integer"},
		{`".5"`, 0, "store_id not an integer"},
		{`"1e"`, 0, "store_id not an integer"},
		{`"1_0"`, 0, "store_id not an integer"},
		{`"0x1"`, 0, "store_id not an integer"},
		{`"１"`, 0, "store_id not an integer"},
		{`true`, 0, "store_id not an integer"},
		{`[1]`, 0, "store_id not an integer"},
		{`{}`, 0, "store_id not an integer"},
		{`null`, 0, "store_id null"},
		{``, 0, "store_id missing"},
	} {
		record := with("store_id", c.json)
		if c.reason != "" {
			wantRejected(t, record, c.reason, "%.200s", record)
		} else if o, ok := decoded(t, record); ok && o.StoreID != c.want {
			t.Errorf("%.200s: store %d, want %d", record, o.StoreID, c.want)
		}
	}
}

func TestAmount(t *testing.T) {
	for _, c := range []struct {
		json   string
		want   int64
		reason Reason
	}{
		{`0`, 0, ""},
		{`-0.00`, 0, ""},
		{`12.5`, 1250, ""},
		{`10.350000000000001`, 1035, ""},
		{`2.675`, 268, ""},
		{`1.005`, 101, ""},
		{`-1.005`, -101, ""},
		{`0.005`, 1, ""},
		{`-0.005`, -1, ""},
		{`0.004999999999999999999999999999999`, 0, ""},
		{`0.00499` + strings.Repeat("9", 500), 0, ""},
		{`0.00` + strings.Repeat("0", 500) + `5`, 0, ""},
		{`1234.56500000000000000000000000001`, 123457, ""},
		{`1e-999999999`, 0, ""},
		{`-1e-99999999999999999999`, 0, ""},
		{`1.25e1`, 1250, ""},
		{`125E-1`, 1250, ""},
		{`9999999999e-2`, 9999999999, ""},
		{`99999999.99`, 9999999999, ""},
		{`-99999999.99`, -9999999999, ""},
		{`99999999.99499999999999999999999999`, 9999999999, ""},
		{`"12.50"`, 1250, ""},
		{`"-12.50"`, -1250, ""},
		{`"1.2e1"`, 1200, ""},
		{`"0012.50"`, 1250, ""},
		{`"-00.5"`, -50, ""},
		{`".5"`, 50, ""},
		{`"-.5"`, -50, ""},
		{`".005"`, 1, ""},
		{`".5e1"`, 500, ""},
		{`"1\u002e5"`, 150, ""},

		{`100000000.00`, 0, "total_amount does not fit DECIMAL(10,2)"},
		{`-100000000`, 0, "total_amount does not fit DECIMAL(10,2)"},
		{`1e8`, 0, "total_amount does not fit DECIMAL(10,2)"},
		{`1e400`, 0, "total_amount does not fit DECIMAL(10,2)"},
		{`-1e999999999999999999999`, 0, "total_amount does not fit DECIMAL(10,2)"},
		{`184467440737095516.16`, 0, "total_amount does not fit DECIMAL(10,2)"}, // 2^64 cents
		{`1` + strings.Repeat("0", 5000), 0, "total_amount does not fit DECIMAL(10,2)"},
		{`"1e400"`, 0, "total_amount does not fit DECIMAL(10,2)"},
		{`99999999.995`, 0, "total_amount does not fit DECIMAL(10,2) after rounding"},
		{`-99999999.995`, 0, "total_amount does not fit DECIMAL(10,2) after rounding"},
		{`99999999.99999999999999999999999999`, 0, "total_amount does not fit DECIMAL(10,2) after rounding"},
		{`"99999999.995"`, 0, "total_amount does not fit DECIMAL(10,2) after rounding"},

		{`""`, 0, "total_amount not a number"},
		{`"-"`, 0, "total_amount not a number"},
		{`"."`, 0, "total_amount not a number"},
		{`"4,95"`, 0, "total_amount not a number"},
		{`"1,000.00"`, 0, "total_amount not a number"},
		{`" 1"`, 0, "total_amount not a number"},
		{`"1\n"`, 0, "total_amount not a number"},
		{`"+1"`, 0, "total_amount not a number"},
		{`"--1"`, 0, "total_amount not a number"},
		{`"0-1"`, 0, "total_amount not a number"},
		{`"-."`, 0, "total_amount not a number"},
		{`".e1"`, 0, "total_amount not a number"},
		{`"..5"`, 0, "total_amount not a number"},
		{`"5."`, 0, "total_amount not a number"},
		{`"1e"`, 0, "total_amount not a number"},
		{`"$5"`, 0, "total_amount not a number"},
		{`"NaN"`, 0, "total_amount not a number"},
		{`"Infinity"`, 0, "total_amount not a number"},
		{`"0x1p3"`, 0, "total_amount not a number"},
		{`true`, 0, "total_amount not a number"},
		{`{}`, 0, "total_amount not a number"},
		{`[1]`, 0, "total_amount not a number"},
		{`null`, 0, "total_amount null"},
		{``, 0, "total_amount missing"},
	} {
		record := with("total_amount", c.json)
		if c.reason != "" {
			wantRejected(t, record, c.reason, "%.200s", record)
		} else if o, ok := decoded(t, record); ok && o.AmountCents != c.want {
			t.Errorf("%.200s: %d cents, want %d", record, o.AmountCents, c.want)
		}
	}
}

// Amounts are rounded exactly, whatever their form: math/big is asked.
func TestAmountAgainstBig(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	digits := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "00000123455555678999"[r.IntN(20)]
		}
		return string(b)
	}
	half, limit := big.NewRat(1, 2), big.NewInt(centsLimit)
	for range 8_000 {
		text := []string{"", "-"}[r.IntN(2)] + strings.TrimLeft(digits(r.IntN(12)), "0") + "0"
		text = strings.Replace(text, "-0", "-5", 1)
		if r.IntN(4) > 0 {
			text += "." + digits(1+r.IntN(30))
		}
		if r.IntN(3) == 0 {
			text += "e" + []string{"", "+", "-"}[r.IntN(3)] + digits(1) + digits(r.IntN(2))
		}
		exact, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%s is no number", text)
		}
		size := new(big.Rat).Abs(exact)
		size.Mul(size, big.NewRat(100, 1))
		cut := new(big.Int).Quo(size.Num(), size.Denom())
		size.Add(size, half)
		rounded := new(big.Int).Quo(size.Num(), size.Denom())

		record := with("total_amount", text)
		switch {
		case cut.Cmp(limit) >= 0:
			wantRejected(t, record, "total_amount does not fit DECIMAL(10,2)", "%s", text)
		case rounded.Cmp(limit) >= 0:
			wantRejected(t, record, "total_amount does not fit DECIMAL(10,2) after rounding", "%s", text)
		default:
			want := rounded.Int64() * int64(exact.Sign())
			if o, ok := decoded(t, record); ok && o.AmountCents != want {
				t.Errorf("%s is %d cents, want %d", text, o.AmountCents, want)
			}
		}
	}
}

func TestItemCount(t *testing.T) {
	for _, c := range []struct {
		count, items string
		want         int32
		reason       Reason
	}{
		{`3`, ``, 3, ""},
		{`3.0`, ``, 3, ""},
		{`"3"`, ``, 3, ""},
		{`"3.0"`, ``, 3, ""},
		{`-0`, ``, 0, ""},
		{`2147483647`, ``, 2147483647, ""},
		{`3`, `[{"quantity":9}]`, 3, ""},
		{`3`, `"no list"`, 3, ""},
		{`3`, `[1,{"quantity":"x"}]`, 3, ""},
		{``, ``, 0, ""},
		{`null`, `null`, 0, ""},
		{``, `[]`, 0, ""},
		{`null`, `[{},{}]`, 2, ""},
		{``, `[{"quantity":2},{"quantity":null},{"name":"x"}]`, 4, ""},
		{``, `[{"quantit\u0079":2.0,"options":{"quantity":9}}]`, 2, ""},
		{``, `[{"quantity":"2"},{"quantity":"3.0"},{"quantity":"\u0031"}]`, 6, ""},
		{``, `[{"quantity":0}]`, 0, ""},
		{``, `[{"quantity":3},{"quantity":-1}]`, 2, ""}, // a line taken back
		{``, `[{"quantity":2147483647}]`, 2147483647, ""},

		{`-1`, ``, 0, "item_count negative"},
		{`"-1"`, ``, 0, "item_count negative"},
		{`-1e400`, ``, 0, "item_count negative"},
		{`2147483648`, ``, 0, "item_count out of 32 bits"},
		{`1e400`, ``, 0, "item_count out of 32 bits"},
		{`2.5`, ``, 0, "item_count not an integer"},
		{`-2.5`, ``, 0, "item_count not an integer"},
		{`"2.5"`, ``, 0, "item_count not an integer"},
		{`""`, ``, 0, "item_count not an integer"},
		{`false`, ``, 0, "item_count not an integer"},
		{`[]`, `[{}]`, 0, "item_count not an integer"},
		{``, `{}`, 0, "item_count not an integer"},
		{``, `"x"`, 0, "item_count not an integer"},
		{``, `5`, 0, "item_count not an integer"},
		{``, `[null]`, 0, "item_count not an integer"},
		{``, `[{},[{}]]`, 0, "item_count not an integer"},
		{``, `[{"quantity":"x"}]`, 0, "item_count not an integer"},
		{``, `[{"quantity":""}]`, 0, "item_count not an integer"},
		{``, `[{"quantity":true}]`, 0, "item_count not an integer"},
		{``, `[{"quantity":"2147483648"}]`, 0, "item_count out of 32 bits"},
		{``, `[{"quantity":1.5}]`, 0, "item_count not an integer"},
		{``, `[{"quantity":{}}]`, 0, "item_count not an integer"},
		{``, `[{"quantity":-1}]`, 0, "item_count negative"},
		{``, `[{"quantity":2147483647},{}]`, 0, "item_count out of 32 bits"},
		{``, `[{"quantity":2147483648}]`, 0, "item_count out of 32 bits"},
		{``, `[{"quantity":1e400}]`, 0, "item_count out of 32 bits"},
	} {
		// The items are read before the count is known, and after.
		for _, record := range [][]byte{
			with("item_count", c.count, "items", c.items),
			with("item_count", "", "items", c.items, "item_count", c.count),
		} {
			if c.reason != "" {
				wantRejected(t, record, c.reason, "%s", record)
			} else if o, ok := decoded(t, record); ok && o.ItemCount != c.want {
				t.Errorf("%s: %d items, want %d", record, o.ItemCount, c.want)
			}
		}
	}
}
