#!/usr/bin/env bash
# The script on Debian: install, run again, upgrade, fail, go back, be killed, remove.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
echo "check-deploy: deploy-ec2.sh on Debian with systemd"

start_machine
local_aws
release 1.0.0
release 1.1.0

# A release whose program answers and does not serve: it ends, or does nothing.
broken() {
	cat >"$work/broken" <<PROGRAM
#!/bin/sh
case \$1 in
version) echo analytics-worker v$1 go1.26 linux/amd64 ;;
doctor) exec /root/dist/doctor doctor ;;
*) $2 ;;
esac
PROGRAM
	chmod +x "$work/broken"
	release "$1" "$work/broken"
}
cp "$(worker_of 1.0.0)" "$root/root/dist/doctor"
broken 1.2.0 'echo "no such table" >&2; exit 1'
broken 1.3.0 'exec sleep 600'

settings=()
for s in "${aws_settings[@]}" HTTP_ADDR=; do settings+=(--set "$s"); done
deploy() { inside bash /root/deploy/deploy-ec2.sh "$@"; }
mkdir -p "$root/root/deploy"
cp -R "$repo/deploy/." "$root/root/deploy/"
tarball() { echo "/root/dist/analytics-worker_$1_linux_amd64.tar.gz"; }
# state is everything that a deployment may change, to be compared.
state() { (cd "$root" && find opt etc usr/local var/lib/analytics-worker \( -type d -printf '%p %m %u %g\n' -o -printf '%p %m %u %g %l %T@\n' \) 2>/dev/null | sort; inside systemctl show analytics-worker -p MainPID -p ActiveState); }
same() { diff <(echo "$before") <(state); }
runs() {
	local pid
	pid=$(inside systemctl show analytics-worker -p MainPID --value)
	[[ $(inside systemctl is-active analytics-worker) == active ]] && inside test "/proc/$pid/exe" -ef "/opt/cloudcafe/analytics-worker/versions/$1/analytics-worker"
}
refused() { # STATUS TEXT COMMAND...: it ends with the status and says the text
	local want=$1 text=$2 said status=0
	shift 2
	said=$("$@" 2>&1) || status=$?
	[[ $status == "$want" && $said == *"$text"* ]] || { echo "status $status, want $want and \"$text\": $said"; return 1; }
}

# ---- nothing, then a first version
before=$(state)
expect "--dry-run on an empty machine" deploy --dry-run "$(tarball 1.0.0)"
expect "it changed nothing" same
expect "a file without a checksum is refused" refused 1 "nothing vouches" inside bash -c 'mkdir /root/bare; cp /root/dist/analytics-worker_1.0.0* /root/bare/; exec bash /root/deploy/deploy-ec2.sh /root/bare/analytics-worker_1.0.0_linux_amd64.tar.gz'
expect "a wrong checksum is refused" refused 1 "is not what was released" deploy --sha256 "$(printf '%064d' 0)" "$(tarball 1.0.0)"
expect "it changed nothing" same
# shellcheck disable=SC2016 # the value is meant to look like that
expect "a fresh install becomes ready" deploy "${settings[@]}" --set 'DEAD_LETTER_URL=file:///var/lib/analytics-worker/a $HOME "b" `c` \d' "$(tarball 1.0.0)"
expect "1.0.0 runs" runs 1.0.0
# loaded N: that many records are in the warehouse, each once.
loaded() {
	local _
	for _ in {1..100}; do
		outside verify --format json >"$work/verify" 2>/dev/null && grep -q "\"records\": $1\b" "$work/verify" && return
		sleep 0.2
	done
	cat "$work/verify"
	return 1
}
expect "the orders are loaded, each once" loaded 20
expect "the unit is verified where it is installed" inside systemd-analyze verify --man=no /etc/systemd/system/analytics-worker.service
before=$(state)
expect "a second run" deploy "$(tarball 1.0.0)"
expect "it changed nothing" same
finish
