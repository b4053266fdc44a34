#!/usr/bin/env bash
# The unit is one that systemd takes, and exposed as little as it can be.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
echo "check-unit: systemd-analyze verify and security"

command -v systemd-analyze >/dev/null || apt_install systemd
unit=$repo/deploy/systemd/analytics-worker.service
most=20 # tenths of systemd's score

# verify wants the program and the files that the unit names.
tree=$work/tree
mkdir -p "$tree/etc/systemd/system"
sed -e 's,^ExecStart=.*,ExecStart=/bin/true,' "$unit" >"$tree/etc/systemd/system/analytics-worker.service"
verified() {
	local said
	said=$(systemd-analyze verify --man=no --recursive-errors=no "$tree/etc/systemd/system/analytics-worker.service" 2>&1) || true
	echo "$said"
	[[ -z $said ]]
}
expect "systemd-analyze verify has nothing to say" verified

scored() { systemd-analyze security --offline=yes --threshold="$1" "$unit"; }
expect "exposure is $(systemd-analyze security --offline=yes "$unit" | sed -n 's/.*level for .*: \([0-9.]*\).*/\1/p'), 2.0 at most" scored "$most"
sed -e '/^Protect/d' -e '/^SystemCallFilter/d' -e '/^User/d' "$unit" >"$work/open.service"
if systemd-analyze security --offline=yes --threshold="$most" "$work/open.service" >/dev/null 2>&1; then bad "a unit without its walls passes too"; else ok "a unit without its walls does not pass"; fi
finish
