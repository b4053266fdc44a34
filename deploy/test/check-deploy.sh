#!/usr/bin/env bash
# The script on Debian: install, run again, upgrade, fail, go back, be killed, remove.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
echo "check-deploy: deploy-ec2.sh on Debian with systemd"

start_machine
local_aws
release 1.0.0
release 1.1.0

broken 1.2.0 'echo "no such table" >&2; exit 1'
broken 1.3.0 'trap "sleep 4; exit 0" TERM; while :; do sleep 0.1; done'

# shellcheck disable=SC2016 # a value that is meant to look like that
odd='file:///var/lib/analytics-worker/a $HOME "b" `c` \d'
settings=(--set "DEAD_LETTER_URL=$odd")
for s in "${aws_settings[@]}" HTTP_ADDR=; do settings+=(--set "$s"); done
script_there
# state is everything that a deployment may change, to be compared.
state() { (cd "$root" && find opt etc usr/local var/lib/analytics-worker \( -type d -printf '%p %m %u %g\n' -o -printf '%p %m %u %g %l %T@\n' \) 2>/dev/null | sort; inside systemctl show analytics-worker -p MainPID -p ActiveState); }
same() { diff <(echo "$before") <(state); }

# ---- nothing, then a first version
inside groupadd --system analytics-worker # as something else may have made it
before=$(state)
expect "--dry-run on an empty machine" deploy --dry-run "$(tarball 1.0.0)"
expect "it changed nothing" same
expect "a file without a checksum is refused" refused 1 "nothing vouches" inside bash -c 'mkdir /root/bare; cp /root/dist/analytics-worker_1.0.0* /root/bare/; exec bash /root/deploy/deploy-ec2.sh /root/bare/analytics-worker_1.0.0_linux_amd64.tar.gz'
expect "a wrong checksum is refused" refused 1 "is not what was released" deploy --sha256 "$(printf '%064d' 0)" "$(tarball 1.0.0)"
expect "it changed nothing" same
expect "--sha256 of a folder is refused" refused 2 "goes with a release file" deploy --sha256 "$(printf '%064d' 0)" /root/dist
expect "--rollback with settings is refused" refused 2 "takes no source" deploy --rollback --set BATCH_SIZE=1
expect "the script alone, in no release, says that it wants one" refused 1 "lies in no checkout" inside bash -c 'cp /root/deploy/deploy-ec2.sh /root/; exec bash /root/deploy-ec2.sh'
expect "a setting with a line break is refused" refused 1 "line break" deploy --set ENVIRONMENT=$'a\nb' "$(tarball 1.0.0)"
expect "a setting that is no UTF-8 is refused" refused 1 "not valid UTF-8" deploy --set ENVIRONMENT=$'a\xff' "$(tarball 1.0.0)"
expect "it changed nothing" same
expect "wrong settings are refused before anything starts" refused 1 "the settings are wrong" deploy --set BATCH_SIZE=many "$(tarball 1.0.0)"
expect "a fresh install becomes ready" deploy "${settings[@]}" --set BATCH_SIZE=100 "$(tarball 1.0.0)"
expect "1.0.0 runs" runs 1.0.0
expect "the orders are loaded, each once" loaded 20
# As docs/DEPLOY.md shows it.
verb() { inside systemd-run --quiet --pipe --wait --collect -p User=analytics-worker -p EnvironmentFile=/etc/cloudcafe/analytics-worker.env -p WorkingDirectory=/var/lib/analytics-worker analytics-worker "$@"; }
expect "a verb with the settings of the service" verb report freshness
expect "its status is the verb's" refused 2 "unknown" verb nothing
expect "the unit is verified where it is installed" inside systemd-analyze verify --man=no /etc/systemd/system/analytics-worker.service
before=$(state)
expect "a second run" deploy "$(tarball 1.0.0)"
expect "it changed nothing" same
expect "the settings are 0640 root:analytics-worker" test "$(inside stat -c '%a %U:%G' /etc/cloudcafe/analytics-worker.env)" == "640 root:analytics-worker"
# shellcheck disable=SC2016 # here and below, for the shell on the machine
expect "a value with blanks, quotes, \$, \` and \\ reaches the worker as it is" test "$(given DEAD_LETTER_URL)" == "$odd"
# shellcheck disable=SC2016 # the shell on the machine reads it
expect "a shell reads the same" test "$(inside bash -c '. /etc/cloudcafe/analytics-worker.env; echo "$DEAD_LETTER_URL"')" == "$odd"

# ---- by https, from a server with a certificate of its own
inside bash -c 'cd /root/dist && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout ../key.pem -out ../cert.pem' 2>"$work/openssl"
: >"$work/served"
# shellcheck disable=SC2016 # for the shell on the machine
inside bash -c 'cd /root/dist && echo $$ >/run/server.pid && exec openssl s_server -accept 127.0.0.1:0 -cert ../cert.pem -key ../key.pem -WWW' </dev/null >"$work/served" 2>&1 &
server=$!
port=''
for _ in {1..100}; do
	port=$(sed -n 's/^ACCEPT .*:\([0-9]*\)$/\1/p' "$work/served")
	if [[ -n $port ]] || ! kill -0 "$server" 2>/dev/null; then break; fi
	sleep 0.1
done
by_https() { inside CURL_CA_BUNDLE=/root/cert.pem bash /root/deploy/deploy-ec2.sh "$@"; }
url=https://127.0.0.1:$port/analytics-worker_1.0.0_linux_amd64.tar.gz
expect "https, checked against SHA256SUMS beside it" refused 0 "nothing to do" by_https "$url"
expect "https with --sha256 of another file" refused 1 "is not what was released" by_https --sha256 "$(printf '%064d' 0)" "$url"
expect "https from a server that nobody vouches for" refused 1 "cannot be fetched" deploy "$url"
expect "a release that is not there" refused 1 "nothing vouches" by_https "${url/1.0.0/9.9.9}" # this server answers 200
# shellcheck disable=SC2016
inside bash -c 'kill $(cat /run/server.pid)'
wait "$server" 2>/dev/null || true
expect "a server that is not there" refused 1 "cannot be fetched" by_https "$url"

# ---- upgrades
environment() { inside cat /etc/cloudcafe/analytics-worker.env; }
kept=$(environment)
expect "an upgrade becomes ready" deploy "$(tarball 1.1.0)"
expect "1.1.0 runs" runs 1.1.0
expect "the settings are kept" test "$kept" == "$(environment)"
expect "settings of the environment are named and not written" refused 0 "is kept; --set BATCH_SIZE" inside BATCH_SIZE=7 bash /root/deploy/deploy-ec2.sh "$(tarball 1.1.0)"
expect "--set restarts with it, and MemoryMax moves along" deploy --set BATCH_SIZE=200 --set MEMORY_LIMIT=1GiB "$(tarball 1.1.0)"
expect "the worker has it" test "$(given BATCH_SIZE) $(inside systemctl show analytics-worker -p MemoryMax --value)" == "200 $(((1 << 30) + (64 << 20)))"
before=$(state | grep -v MainPID)
unchanged() { diff <(echo "$before") <(state | grep -v MainPID); }
expect "--dry-run of an upgrade" deploy --dry-run --set BATCH_SIZE=9 "$(tarball 1.0.0)"
expect "it changed nothing" unchanged
kept=$(environment)
expect "a version that ends is undone" refused 1 "1.1.0 runs again and is ready" deploy --set BATCH_SIZE=300 "$(tarball 1.2.0)"
expect "1.1.0 runs" runs 1.1.0
expect "a version that does not get ready is undone" refused 1 "not ready within 3 s" deploy --ready-within 3 --set BATCH_SIZE=300 "$(tarball 1.3.0)"
expect "1.1.0 runs" runs 1.1.0
expect "the settings are those of before" test "$kept" == "$(environment)"
expect "settings with which the same version does not get ready are undone" refused 1 "1.1.0 runs again and is ready" deploy --ready-within 3 --set KINESIS_STREAM_NAME=none "$(tarball 1.1.0)"
expect "1.1.0 runs" runs 1.1.0
expect "the settings are those of before" test "$kept" == "$(environment)"
expect "its remains are removed" test "$(inside ls -A /opt/cloudcafe/analytics-worker/versions | xargs)" == "1.0.0 1.1.0"
expect "--rollback" deploy --rollback
expect "1.0.0 runs" runs 1.0.0
expect "--rollback again" deploy --rollback
expect "1.1.0 runs" runs 1.1.0

# ---- two at once
deploy "$(tarball 1.0.0)" >"$work/first" 2>&1 &
first=$!
inside bash -c 'until [[ -e /opt/cloudcafe/analytics-worker/.pending ]]; do sleep 0.05; done'
expect "the second of two waits for the first" refused 0 "another deployment runs" deploy "$(tarball 1.1.0)"
expect "the first of two" wait "$first"
expect "1.1.0 runs" runs 1.1.0

# ---- killed in the middle
# shellcheck disable=SC2016
# killed CONDITION VERSION: the script is killed without a word once the condition holds.
killed() {
	inside bash -c 'echo $$ >/run/deploy.pid; exec bash /root/deploy/deploy-ec2.sh --ready-within 5 "$1"' - "$(tarball "$2")" >"$work/killed" 2>&1 &
	local script=$!
	inside timeout 60 bash -c "until $1; do sleep 0.02; done; kill -9 \$(cat /run/deploy.pid)"
	wait "$script" && return 1
	return 0
}
expect "killed before the switch" killed '[[ -e /opt/cloudcafe/analytics-worker/.pending ]]' 1.0.0
expect "1.1.0 still runs" runs 1.1.0
# shellcheck disable=SC2016
expect "killed after the switch" killed '[[ $(readlink /opt/cloudcafe/analytics-worker/current) == versions/1.0.0 ]]' 1.0.0
expect "--rollback goes back to where it began" refused 0 "1.1.0 runs again and is ready" deploy --rollback
expect "1.1.0 runs" runs 1.1.0
# shellcheck disable=SC2016
expect "killed after the switch, again" killed '[[ $(readlink /opt/cloudcafe/analytics-worker/current) == versions/1.0.0 ]]' 1.0.0
expect "the next run finishes it" refused 0 "cut short" deploy "$(tarball 1.0.0)"
expect "1.0.0 runs" runs 1.0.0
# shellcheck disable=SC2016
expect "killed while a bad version starts" killed '[[ $(systemctl show analytics-worker -p ActiveState --value) == activating ]]' 1.3.0
expect "the next run undoes it" refused 1 "1.0.0 runs again and is ready" deploy --ready-within 3 "$(tarball 1.3.0)"
expect "1.0.0 runs" runs 1.0.0
# shellcheck disable=SC2016
expect "killed while the bad version takes its time to stop" killed '[[ $(systemctl show analytics-worker -p ActiveState --value) == deactivating && $(readlink /opt/cloudcafe/analytics-worker/current) == versions/1.0.0 ]]' 1.3.0
expect "1.0.0 comes back by itself" inside timeout 60 bash -c 'until systemctl is-active --quiet analytics-worker; do sleep 0.1; done'
expect "1.0.0 runs" runs 1.0.0
expect "the next run finishes it" refused 0 "cut short" deploy "$(tarball 1.0.0)"
expect "nothing is left of it" inside bash -c '! ls -d /opt/cloudcafe/analytics-worker/.[a-z]* /opt/cloudcafe/analytics-worker/versions/.[a-z]*'
outside publish --count 30 --seed 2 >"$work/publish.log" 2>&1
expect "after all of this every order is loaded, each once" loaded 50

# ---- the log, in both places
logs_agree() { diff <(inside journalctl -u analytics-worker -o cat --no-pager | grep '^{') <(inside bash -c 'cat /var/log/analytics-worker/worker.log'); }
inside systemctl stop analytics-worker
expect "the log file holds every line of the journal, over all restarts" logs_agree
expect "there are such lines" inside grep -q '"msg":"reading shard"' /var/log/analytics-worker/worker.log

# ---- removal
expect "--uninstall" deploy --uninstall
expect "settings, state and log are kept" inside ls /etc/cloudcafe/analytics-worker.env /var/lib/analytics-worker /var/log/analytics-worker/worker.log
expect "unit, program and command are gone" inside bash -c '! ls -d /etc/systemd/system/analytics-worker* /opt/cloudcafe/analytics-worker /usr/local/bin/analytics-worker'
expect "--uninstall again" deploy --uninstall
expect "what is installed then has the settings of before" deploy "$(tarball 1.1.0)"
expect "the worker has them" test "$(given BATCH_SIZE)" == 200
expect "--uninstall --purge" deploy --uninstall --purge
left() { inside find / -xdev \( -path /root -o -path /tmp -o -path /proc \) -prune -o \( -name '*analytics-worker*' -o -name '*cloudcafe*' \) -print | grep . && return 1 || ! inside getent passwd analytics-worker; }
expect "nothing is left" left
finish
