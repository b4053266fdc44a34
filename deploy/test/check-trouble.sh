#!/usr/bin/env bash
# The script on machines that are not as they should be: hardened, full, read-only; with
# files that were tampered with, settings that somebody wrote by hand, a program that hangs.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
echo "check-trouble: deploy-ec2.sh where something is wrong"

start_machine
local_aws
release 1.0.0
release 1.1.0
broken 1.2.0 'exec sleep 600' 'exec sleep 600'
script_there
settings=()
for s in "${aws_settings[@]}" HTTP_ADDR=; do settings+=(--set "$s"); done
as_before() { diff <(echo "$before") <(state); }
state() { inside bash -c 'find /opt/cloudcafe /etc /usr/local /var/tmp /run/analytics-worker-deploy.?????? \( -type d -printf "%p %m %u\n" -o -printf "%p %m %u %l %T@\n" \) 2>/dev/null | sort; systemctl show analytics-worker -p MainPID'; }

# ---- hardened: nothing is run from the places that all may write to, and others see nothing
inside mount -o remount,noexec /tmp
inside mount -t tmpfs -o noexec,mode=1777 tmpfs /var/tmp
# As little room as fits one version and no second one.
size=$(($(stat -c %s "$(worker_of 1.0.0)") >> 20))
inside mkdir -p /opt/cloudcafe
inside mount -t tmpfs -o "size=$((size + size / 2))m" tmpfs /opt/cloudcafe
# A unit of the same name, as of the program that this one replaces.
printf '[Service]\nExecStart=/usr/bin/python3 /opt/analytics/worker.py\n' >"$root/etc/systemd/system/analytics-worker.service"
expect "/tmp and /var/tmp are noexec, and the umask is 077: it installs" inside bash -c 'umask 077; exec bash /root/deploy/deploy-ec2.sh "$@"' - "${settings[@]}" "$(tarball 1.0.0)"
expect "1.0.0 runs" runs 1.0.0
expect "the unit that was there is kept" inside grep -q worker.py /etc/systemd/system/analytics-worker.service.before
expect "--run doctor, with the settings and the user of the service" refused 0 'OK  settings' deploy --run doctor
expect "its status is the verb's" refused 2 'unknown' deploy --run nothing
expect "--run without a verb is refused" refused 2 "needs a verb" deploy --run

# ---- no room, and no way to write
before=$(state)
expect "a full disk is told" refused 1 "is the disk full" deploy "$(tarball 1.1.0)"
expect "it changed nothing, and left nothing" as_before
expect "1.0.0 runs" runs 1.0.0
inside mount -o remount,size=400m /opt/cloudcafe
expect "with room it is installed" deploy "$(tarball 1.1.0)"
expect "1.1.0 runs" runs 1.1.0
inside bash -c 'mount --bind /etc /etc && mount -o remount,ro,bind /etc'
expect "/etc is read-only: it says so, and what to do" refused 1 "Run this again" deploy --set BATCH_SIZE=300 "$(tarball 1.0.0)"
expect "1.1.0 runs" runs 1.1.0
inside umount /etc
expect "the next run finishes it" refused 0 "cut short" deploy --set BATCH_SIZE=300 "$(tarball 1.0.0)"
expect "1.0.0 runs with it" test "$(runs 1.0.0 && given BATCH_SIZE)" == 300

# ---- a program that hangs
expect "a doctor that hangs holds nothing up" refused 1 "1.0.0 runs again and is ready" timeout 60 nsenter -t "$init" -m -u -i -p -r -w -- /usr/bin/env -i PATH="$PATH" bash /root/deploy/deploy-ec2.sh --ready-within 5 "$(tarball 1.2.0)"
expect "1.0.0 runs" runs 1.0.0

# ---- files that are not what they seem
before=$(state)
top=analytics-worker_6.6.6_linux_amd64
crafted=/root/dist/$top.tar.gz
# craft: what stands on the standard input of a shell in an empty folder makes release.tar there.
craft() {
	rm -rf "$work/craft"
	mkdir -p "$work/craft/$top/deploy"
	echo owned >"$work/craft/owned"
	(cd "$work/craft" && bash -euo pipefail)
	gzip -c "$work/craft/release.tar" >"$root$crafted"
}
head -c 100000 "$root$(tarball 1.1.0)" >"$root/root/dist/short.tar.gz"
expect "half a file, of which the checksum holds" refused 1 "cannot be unpacked" deploy --sha256 "$(sha256sum <"$root/root/dist/short.tar.gz" | cut -c 1-64)" /root/dist/short.tar.gz
craft <<'END'
tar -cf release.tar --transform 's,^owned,../../../../../root/owned,' -P owned
END
expect "a file that would go elsewhere" refused 1 "" deploy --no-checksum "$crafted"
craft <<END
ln -s /root $top/licenses
tar -cf release.tar $top/licenses
tar -rf release.tar --transform 's,^owned,$top/licenses/owned,' owned
END
expect "a file that would go elsewhere by a link" refused 1 "" deploy --no-checksum "$crafted"
craft <<END
ln -s /etc/shadow $top/analytics-worker
ln -s /etc/shadow $top/deploy/analytics-worker.service
tar -cf release.tar $top
END
expect "links in place of the program" refused 1 "no release" deploy --no-checksum "$crafted"
expect "none of them went anywhere" inside test ! -e /root/owned
rm -f "$root$crafted"
expect "they changed nothing" as_before

# ---- settings that somebody wrote by hand
# shellcheck disable=SC2016 # meant to look like that
letters='file:///var/lib/analytics-worker/Zürich #1 $HOME'
printf '# by hand\r\nMEMORY_LIMIT=512MiB\r\nDEAD_LETTER_URL="%s"' "${letters//$/\\$}" >>"$root/etc/cloudcafe/analytics-worker.env"
expect "a file with CRLF, #, \$, no ASCII and no line break at its end" deploy --set BATCH_SIZE=400 "$(tarball 1.0.0)"
expect "its values reach the worker" test "$(given MEMORY_LIMIT) $(given DEAD_LETTER_URL) $(given BATCH_SIZE)" == "512MiB $letters 400"
expect "MemoryMax fits" test "$(inside systemctl show analytics-worker -p MemoryMax --value)" == $(((512 + 64) << 20))

# ---- settings of an instance
# parameters ANSWER: what the Parameter Store says, or why it says nothing.
parameters() {
	printf '#!/bin/sh\n%s\n' "$1" >"$root/usr/bin/aws"
	chmod +x "$root/usr/bin/aws"
}
curl -fsS -X PUT -d '{"tags/instance/Name":"x","tags/instance/POLL_INTERVAL":"2\n3"}' "$aws_url/_localaws/imds" >/dev/null
instance() { inside "AWS_EC2_METADATA_SERVICE_ENDPOINT=$aws_url" bash /root/deploy/deploy-ec2.sh "${settings[@]}" "$@"; }
expect "--uninstall --purge" deploy --uninstall --purge
parameters "printf '/cloudcafe/analytics-worker/BATCH_SIZE\t500\n600\t.\n'"
expect "a parameter with a line break is refused" refused 1 "BATCH_SIZE holds a line break" instance --set POLL_INTERVAL=2 "$(tarball 1.0.0)"
parameters 'echo "An error occurred (AccessDeniedException) when calling the GetParametersByPath operation" >&2; exit 254'
expect "a tag with a line break is refused" refused 1 "POLL_INTERVAL holds a line break" instance "$(tarball 1.0.0)"
expect "parameters that it may not read are told" refused 0 "AccessDenied" instance --set POLL_INTERVAL=2 "$(tarball 1.0.0)"
expect "1.0.0 runs" runs 1.0.0

# ---- no room for the log
# A page of a file that ends in the middle of a line: half of that line could be written.
inside systemctl stop analytics-worker
inside bash -c 'cd /var/log && mount -t tmpfs -o size=16k,mode=750,uid=analytics-worker,gid=analytics-worker tmpfs analytics-worker && cd analytics-worker &&
	printf "{\"time\":\"%03900d\"}\n" 0 >worker.log && head -c 12288 /dev/zero >filler && chown analytics-worker: *'
expect "a disk that is full of something else keeps no worker from starting" inside systemctl start analytics-worker
inside rm /var/log/analytics-worker/filler
inside systemctl stop analytics-worker
whole() { inside bash -c 'cd /var/log/analytics-worker && cat worker.log && ! grep -v "^{.*}\$" worker.log && ! grep "\"time\".*\"time\"" worker.log'; }
expect "every line of the log file is whole" whole
expect "what is missing there is told" inside grep -q '"lines of the log are missing here","lines":[1-9]' /var/log/analytics-worker/worker.log
expect "and is in the journal" inside bash -c 'journalctl -u analytics-worker -o cat --no-pager | tail -n 40 | grep -q "\"msg\":\"starting\""'
inside umount /var/log/analytics-worker
expect "it starts again" inside systemctl start analytics-worker

# ---- removed while it is upgraded
deploy "$(tarball 1.1.0)" >"$work/upgrade" 2>&1 &
upgrade=$!
inside bash -c 'until [[ -e /opt/cloudcafe/analytics-worker/.pending ]]; do sleep 0.05; done'
expect "--uninstall waits for the upgrade" refused 0 "another deployment runs" deploy --uninstall
expect "the upgrade" wait "$upgrade"
expect "nothing runs, and nothing is left but settings, state and log" inside bash -c '! systemctl is-active -q analytics-worker && ! ls -d /opt/cloudcafe/* /usr/local/bin/analytics-worker /var/tmp/analytics-worker* /run/analytics-worker-deploy.??????'
expect "every order was loaded, each once" loaded 20
finish
