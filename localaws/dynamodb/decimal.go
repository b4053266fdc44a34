package dynamodb

import (
	"math/big"
	"strconv"
	"strings"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// Bounds of a Number: 38 significant digits, magnitudes from 1E-130 to
// 9.99...E+125.
const (
	maxDigits = 38
	maxPower  = 125
	minPower  = -130
)

// decimal is an exact decimal number: digits times ten to the power exp. The
// digits have no trailing zeros, so equal numbers are equal decimals.
type decimal struct {
	digits big.Int
	exp    int
}

// parseDecimal reads a number as DynamoDB takes it.
func parseDecimal(text string) (*decimal, *wire.Error) {
	notNumber := wire.Errorf("ValidationException", "The parameter cannot be converted to a numeric value: %s", text)
	body, exponent, hasExponent := strings.Cut(strings.ToLower(text), "e")
	exp := 0
	if hasExponent {
		var err error
		// A power of more digits than these is out of range whatever the digits.
		if exp, err = strconv.Atoi(exponent); err != nil || exp > 1<<20 || exp < -1<<20 {
			return nil, notNumber
		}
	}
	sign := ""
	if strings.HasPrefix(body, "-") || strings.HasPrefix(body, "+") {
		sign, body = strings.TrimPrefix(body[:1], "+"), body[1:]
	}
	whole, fraction, _ := strings.Cut(body, ".")
	digits := whole + fraction
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return nil, notNumber
	}
	exp -= len(fraction)
	digits = strings.TrimLeft(digits, "0")
	trimmed := strings.TrimRight(digits, "0")
	exp += len(digits) - len(trimmed)
	// Bound the length before arithmetic: the text may be as long as an item.
	if len(trimmed) > maxDigits {
		return nil, tooPrecise()
	}
	d := &decimal{exp: exp}
	if trimmed == "" {
		d.exp = 0
		return d, nil
	}
	d.digits.SetString(sign+trimmed, 10)
	return d, d.check()
}

func tooPrecise() *wire.Error {
	return wire.Errorf("ValidationException", "Attempting to store more than 38 significant digits in a Number")
}

// check tells whether the number can be stored.
func (d *decimal) check() *wire.Error {
	if d.digits.Sign() == 0 {
		return nil
	}
	length := len(new(big.Int).Abs(&d.digits).String())
	switch power := d.exp + length - 1; {
	case length > maxDigits:
		return tooPrecise()
	case power > maxPower:
		return wire.Errorf("ValidationException", "Number overflow. Attempting to store a number with magnitude larger than supported range")
	case power < minPower:
		return wire.Errorf("ValidationException", "Number underflow. Attempting to store a number with magnitude smaller than supported range")
	}
	return nil
}

// String writes the number without an exponent, as DynamoDB returns it.
func (d *decimal) String() string {
	text := new(big.Int).Abs(&d.digits).String()
	switch {
	case d.exp >= 0 && text != "0":
		text += strings.Repeat("0", d.exp)
	case d.exp < 0 && len(text) > -d.exp:
		text = text[:len(text)+d.exp] + "." + text[len(text)+d.exp:]
	case d.exp < 0:
		text = "0." + strings.Repeat("0", -d.exp-len(text)) + text
	}
	if d.digits.Sign() < 0 {
		return "-" + text
	}
	return text
}

// aligned returns the digits of both numbers at the smaller of their powers.
func aligned(a, b *decimal) (x, y *big.Int, exp int) {
	exp = min(a.exp, b.exp)
	scale := func(d *decimal) *big.Int {
		ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(d.exp-exp)), nil)
		return ten.Mul(ten, &d.digits)
	}
	return scale(a), scale(b), exp
}

// compare orders two numbers.
func (d *decimal) compare(o *decimal) int {
	x, y, _ := aligned(d, o)
	return x.Cmp(y)
}

// plus adds two numbers, or subtracts the second.
func (d *decimal) plus(o *decimal, subtract bool) (*decimal, *wire.Error) {
	x, y, exp := aligned(d, o)
	if subtract {
		y.Neg(y)
	}
	sum := &decimal{exp: exp}
	sum.digits.Add(x, y)
	if sum.digits.Sign() == 0 {
		sum.exp = 0
		return sum, nil
	}
	ten, rest := big.NewInt(10), new(big.Int)
	for {
		q, r := new(big.Int).QuoRem(&sum.digits, ten, rest)
		if r.Sign() != 0 {
			break
		}
		sum.digits.Set(q)
		sum.exp++
	}
	return sum, sum.check()
}
