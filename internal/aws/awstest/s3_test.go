package awstest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/localaws"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

func startS3(t *testing.T, location string) (*localaws.Running, *aws.Bucket) {
	t.Helper()
	l, a := start(t, true)
	b, err := a.Bucket(location)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is there
		if err := b.EnsureBucket(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return l, b
}

func TestObjectsComeBackAsTheyWentIn(t *testing.T) {
	_, b := startS3(t, "s3://lake/staging")
	for _, size := range []int{0, 1, 3 << 20} {
		name := fmt.Sprintf("day=1/a b+%d.csv.gz", size)
		body := bytes.Repeat([]byte{0xF3}, size)
		url, err := b.Put(t.Context(), name, body)
		if err != nil {
			t.Fatal(err)
		}
		if want := "s3://lake/staging/" + name; url != want {
			t.Errorf("URL %s, want %s", url, want)
		}
		got, err := b.Get(t.Context(), name)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d bytes came back as %d: %v", size, len(got), err)
		}
	}
}

func TestPutIfAbsentKeepsWhatIsThere(t *testing.T) {
	_, b := startS3(t, "s3://lake")
	for i, want := range []bool{true, false} {
		created, err := b.PutIfAbsent(t.Context(), "x", []byte(fmt.Sprint(i)))
		if err != nil || created != want {
			t.Errorf("time %d: created %v, %v", i, created, err)
		}
	}
	if got, err := b.Get(t.Context(), "x"); err != nil || string(got) != "0" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestPutIfAbsentAfterALostReplyLeavesOneWholeObject(t *testing.T) {
	l, b := startS3(t, "s3://lake")
	l.SetFaults(fault.Fault{Service: "s3", Operation: "PutObject", Kind: fault.ReplyLost, Count: 1})
	if _, err := b.PutIfAbsent(t.Context(), "x", []byte("whole")); err != nil {
		t.Fatal(err)
	}
	struck(t, l)
	if got, err := b.Get(t.Context(), "x"); err != nil || string(got) != "whole" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestGetSaysWhatIsNotThere(t *testing.T) {
	_, b := startS3(t, "s3://lake/p")
	if _, err := b.Get(t.Context(), "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestListAndDeleteFollowPages(t *testing.T) {
	_, b := startS3(t, "s3://lake/p")
	var want []string
	for i := range 1003 { // one page holds 1,000, and so does one DeleteObjects
		name := fmt.Sprintf("dead/%04d", i)
		want = append(want, name)
		if _, err := b.Put(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Put(t.Context(), "other", nil); err != nil {
		t.Fatal(err)
	}
	got, err := b.List(t.Context(), "dead/")
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("listed %d of %d: %v", len(got), len(want), err)
	}
	if err := b.Delete(t.Context(), append(want, "never there")...); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(t.Context(), "never there"); err != nil {
		t.Fatal(err)
	}
	if got, err := b.List(t.Context(), ""); err != nil || !slices.Equal(got, []string{"other"}) {
		t.Errorf("left: %v, %v", got, err)
	}
	if err := b.Delete(t.Context()); err != nil {
		t.Errorf("delete nothing: %v", err)
	}
}
