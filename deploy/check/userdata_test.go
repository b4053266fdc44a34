package check

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var exported = regexp.MustCompile(`(?m)^export ([A-Z_]+)=`)

// Every setting of the reference is handed to the installation, but for those that
// say why not.
func TestUserDataHandsOnEverySetting(t *testing.T) {
	text, err := os.ReadFile("../../docs/REFERENCE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## Settings\n")
	table, _, _ = strings.Cut(table, "\n## ")
	left := map[string]string{
		"LOG_FILE":  "the unit names it, as the CloudWatch agent follows that file",
		"HTTP_ADDR": "the pages stay on 127.0.0.1; operators reach them through Session Manager",
	}
	var given []string
	for _, m := range exported.FindAllStringSubmatch(stack(t, onCluster).Group().UserData, -1) {
		given = append(given, m[1])
	}
	rows := 0
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\|").FindAllStringSubmatch(table, -1) {
		rows++
		if _, ok := left[m[1]]; !ok && !slices.Contains(given, m[1]) {
			t.Errorf("the user data do not hand on %s: add it, or say why not", m[1])
		}
		given = slices.DeleteFunc(given, func(s string) bool { return s == m[1] })
	}
	if rows < 15 || len(given) > 0 {
		t.Errorf("%d settings in the reference, %q in the user data are none of them", rows, given)
	}
}

// The user data run, with stand-ins for what only an instance has: what they
// install, and what they tell the group and the stack of how it went.
func TestUserData(t *testing.T) {
	release := tarball(t)
	sum := sha256.Sum256(release)
	for name, c := range map[string]struct {
		sha256, install string
		status          int
		result          string
	}{
		"in order":         {hex.EncodeToString(sum[:]), "0", 0, "CONTINUE"},
		"another file":     {strings.Repeat("0", 64), "0", 1, "ABANDON"},
		"fails to come up": {hex.EncodeToString(sum[:]), "1", 1, "ABANDON"},
		"wrongly called":   {hex.EncodeToString(sum[:]), "2", 2, "ABANDON"},
		// As with a paused cluster: what is started in its place would wait as well.
		"up, and waiting":    {hex.EncodeToString(sum[:]), "3", 0, "CONTINUE"},
		"no release fetched": {"", "0", 1, "ABANDON"},
	} {
		t.Run(name, func(t *testing.T) {
			values := map[string]string{"RedshiftClusterId": "orders", "RedshiftDbUser": ""}
			if c.sha256 != "" {
				values["ReleaseSha256"] = c.sha256
			}
			script := stack(t, values).Group().UserData
			dir, said := t.TempDir(), filepath.Join(t.TempDir(), "said")
			for program, body := range map[string]string{
				"aws": `echo "aws $*" >>"$SAID"
if [[ $1 == s3 ]]; then [[ -n $RELEASE ]] || exit 1; cp "$RELEASE" "${@: -1}"; fi`,
				"curl":       `case "$*" in *api/token*) echo token ;; *) echo i-0123456789abcdef0 ;; esac`,
				"cfn-signal": `echo "cfn-signal $*" >>"$SAID"; exit 1 # as where nobody waits`,
			} {
				if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/bash\n"+body+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			file := filepath.Join(dir, "release.tar.gz")
			if err := os.WriteFile(file, release, 0o644); err != nil {
				t.Fatal(err)
			}
			if c.sha256 == "" {
				file = ""
			}
			cmd := exec.Command("bash", "-c", strings.ReplaceAll(script, "/opt/aws/bin/cfn-signal", "cfn-signal"))
			cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "SAID=" + said, "RELEASE=" + file, "STATUS=" + c.install, "TMPDIR=" + t.TempDir()}
			out, err := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != c.status {
				t.Errorf("status %d, %v: %s", got, err, out)
			}
			heard, err := os.ReadFile(said)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{
				"cfn-signal --exit-code " + str(c.status) + " --stack analytics-worker --resource Workers",
				"--lifecycle-hook-name analytics-worker-launch --auto-scaling-group-name analytics-worker-asg --instance-id i-0123456789abcdef0 --lifecycle-action-result " + c.result,
			} {
				if !strings.Contains(string(heard), want) {
					t.Errorf("it did not say %q, but %s", want, heard)
				}
			}
			installed := strings.Contains(string(out), "installing cluster=orders user=[] ")
			if wanted := c.result == "CONTINUE" || c.install != "0"; installed != wanted {
				t.Errorf("installed: %v, want %v: %s", installed, wanted, out)
			}
		})
	}
}

// tarball is a release whose installation says what it was given.
func tarball(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	deploy := filepath.Join(dir, "analytics-worker_1.2.3_linux_arm64", "deploy")
	if err := os.MkdirAll(deploy, 0o755); err != nil {
		t.Fatal(err)
	}
	const script = `#!/bin/bash
set -u
[[ $1 == --sha256 && -f $3 && $(sha256sum <"$3") == "$2"* ]] || exit 9
echo "installing cluster=$REDSHIFT_CLUSTER_ID user=[$REDSHIFT_DB_USER] $STAGING_URL"
exit "$STATUS"
`
	if err := os.WriteFile(filepath.Join(deploy, "deploy-ec2.sh"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "release.tar.gz")
	if text, err := exec.Command("tar", "-czf", out, "-C", dir, "analytics-worker_1.2.3_linux_arm64").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	file, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// A shell reads the user data as they were meant.
func TestUserDataAreClean(t *testing.T) {
	shellcheck, err := exec.LookPath("shellcheck")
	if err != nil {
		t.Skip("shellcheck is not there; make lint installs it")
	}
	cmd := exec.Command(shellcheck, "--shell=bash", "-")
	cmd.Stdin = strings.NewReader(stack(t, onCluster).Group().UserData)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	if text := stack(t, onCluster).Group().UserData; len(text) > 16*1024*3/4 {
		t.Errorf("the user data have %d bytes; encoded they may have 16 KiB", len(text))
	}
}
