#!/usr/bin/env bash
# The deb and the rpm on a machine with systemd: install, upgrade, go back, remove and
# purge, with a worker that runs against the local AWS; then where there is no systemd,
# where /etc cannot be written, and where somebody has the user's name.
set -euo pipefail
# shellcheck source=deploy/test/lib.sh
. "$(dirname "$0")/lib.sh"
echo "check-packages: the deb and the rpm are installed, upgraded and removed"

name=analytics-worker
config=/etc/cloudcafe/$name.env
home=/opt/cloudcafe/$name
state=/var/lib/$name
arch=$(go env GOARCH)

command -v rpm >/dev/null || apt_install rpm
release_tools
# Three versions in order: a prerelease, a commit behind it, and the next one.
versions=(1.0.0-rc.1 1.0.0-rc.1-3-gabcdef1 1.1.0-rc.1)
versioned=$work/packages
mkdir -p "$versioned"
# The settings file that the last one brings is another one.
mkdir "$work/tree"
(cd "$repo" && git ls-files -co --exclude-standard -z | tar --null -T - -cf - | tar -C "$work/tree" -xf -)
GIT_DIR=$(git -C "$repo" rev-parse --absolute-git-dir)
for n in 1 2 3; do
	((n < 3)) || echo '# of the third version' >>"$work/tree/deploy/$name.env"
	GIT_DIR=$GIT_DIR GOFLAGS=-buildvcs=false DIST=$versioned/$n VERSION=v${versions[n - 1]} ARCHES=$arch TOOLS=$repo/.tools/release \
		"$work/tree/scripts/release" >"$work/release.log" 2>&1 || { cat "$work/release.log"; exit 1; }
	for kind in deb rpm; do mv "$versioned/$n"/*."$kind" "$versioned/$n.$kind"; done
	rm -rf "${versioned:?}/$n"
done
(cd "$versioned" && sha256sum ./*.deb ./*.rpm | sed 's,\./,,' >SHA256SUMS)

# ---- what is in them --------------------------------------------------------------

listed() { # what both hold, whatever their makers add
	diff <(dpkg-deb -c "$versioned/1.deb" | awk '!/^d/ { print substr($6, 2) }' | sort) \
		<(rpm -qlvp "$versioned/1.rpm" | awk '!/^d/ { print $9 }' | sort)
}
expect "deb and rpm hold the same files" listed
of_root() { ! dpkg-deb -c "$versioned/1.deb" | grep -v ' root/root '; }
expect "all files of the deb are root's" of_root
nobody_writes() { ! { dpkg-deb -c "$versioned/1.deb"; rpm -qlvp "$versioned/1.rpm"; } | grep -v ^l | awk '$1 ~ /^.....w|^........w|[sS]/ { print; bad = 1 } END { exit !bad }'; }
expect "no file is set-uid, or for others to write" nobody_writes
is_config() { [[ $(rpm -qcp "$versioned/1.rpm") == "$config" && $(dpkg-deb -I "$versioned/1.deb" conffiles) == "$config" ]]; }
expect "the settings are a configuration file" is_config
in_order() {
	local of=() n
	for n in 1 2 3; do of+=("$(dpkg-deb -f "$versioned/$n.deb" Version)"); done
	dpkg --compare-versions "${of[0]}" lt "${of[1]}" && dpkg --compare-versions "${of[1]}" lt "${of[2]}"
}
expect "a later version is one for dpkg" in_order
clean_scripts() {
	local kind
	for kind in preinst postinst prerm postrm; do
		dpkg-deb -I "$versioned/1.deb" "$kind" >"$work/$kind" && shellcheck -s sh "$work/$kind" || return
	done
}
if command -v shellcheck >/dev/null; then expect "the scripts, put together, are clean for shellcheck" clean_scripts; fi

# ---- a machine --------------------------------------------------------------------

start_machine
local_aws
mkdir "$root/root/packages"
cp "$versioned"/* "$root/root/packages/"

# Nobody is there to answer: what asks, fails.
deb() { inside env DEBIAN_FRONTEND=noninteractive dpkg --force-confold "$@" </dev/null; }
# The host's package lists do not matter to rpm on a Debian.
rpm_of() { inside rpm --nodeps "$@" </dev/null; }
active() { inside systemctl is-active --quiet "$name"; }
enabled() { inside systemctl is-enabled --quiet "$name"; }
not() { ! "$@"; }
there() { [[ -e $root$1 || -L $root$1 ]]; }
# told COMMAND...: what it says is kept, for says.
told() {
	local rc=0
	"$@" >"$work/said" 2>&1 || rc=$?
	cat "$work/said"
	return "$rc"
}
says() { grep -e "$1" "$work/said"; }
current_is() { [[ $(readlink "$root$home/current") == versions/${versions[$1 - 1]} && $(inside "$name" version) == "$name v${versions[$1 - 1]} "* ]]; }
previous_is() { [[ $(readlink "$root$home/previous") == versions/${versions[$1 - 1]} && -x $root$home/previous/$name ]]; }
# running_is N: version N runs.
running_is() {
	local pid
	pid=$(inside systemctl show -p MainPID --value "$name")
	inside test "/proc/$pid/exe" -ef "$home/versions/${versions[$1 - 1]}/$name" || { echo "process $pid is $(inside readlink "/proc/$pid/exe")"; return 1; }
}
settings_are() { [[ $(inside stat -c '%a %U:%G' "$config") == "640 root:$name" ]] && { [[ ${1:-} == new ]] || grep -q '^# mine$' "$root$config"; }; }
configure() {
	printf '%s\n' '# mine' 'KINESIS_STREAM_NAME="order-events"' "${aws_settings[@]}" >>"$root$config"
	sed -i 's/^AWS_EC2.*/&\nMETRICS_INTERVAL=0/' "$root$config"
	kept=$(<"$root$config")
}
# next STEP: what the package says is to be done next, as the operator would copy it.
next() { inside sh -c "$(grep -A 4 'What is next' "$work/said" | sed -n "s/^ *$1\. [^:]*: *//p")"; }

# healthy: doctor, as the package's message has it, finds nothing wrong. Where a worker has
# been before, it says that none is running, which is so.
healthy() {
	local out status=0
	out=$(next 2 2>&1) || status=$?
	echo "$out"
	((status == 0)) || [[ $(grep -E '^(FAIL|WARN)' <<<"$out") =~ ^FAIL\ +verdict\ +No\ worker\ is\ running$ ]]
}

# new_beside KIND: the settings file of the third version, which is not taken.
new_beside() {
	local aside=dpkg-dist
	[[ $1 == deb ]] || aside=rpmnew
	inside grep -q '^# of the third version$' "$config.$aside" && inside cmp "$config" - <<<"$kept"
}
# installs KIND N: version N by the tools of KIND.
installs() {
	if [[ $1 == deb ]]; then told deb -i "/root/packages/$2.deb"; else told rpm_of -U --oldpackage "/root/packages/$2.rpm"; fi
}
removes() { if [[ $1 == deb ]]; then deb -r "$name"; else rpm_of -e "$name"; fi; }

# life KIND: all that may come to an installation but its end.
life() {
	local kind=$1
	expect "$kind: it installs" installs "$kind" 1
	expect "$kind: and does not start, nor at the next boot" not eval 'active || enabled'
	expect "$kind: settings are root's, and for the worker's group to read" settings_are new
	expect "$kind: the command is there" current_is 1
	configure
	expect "$kind: doctor, as the message has it, finds all well" healthy
	expect "$kind: it starts as the message has it" next 3
	expect "$kind: and runs" eval 'active && running_is 1'

	expect "$kind: a running worker is upgraded" installs "$kind" 2
	expect "$kind: and runs the new version" eval 'active && running_is 2 && current_is 2 && previous_is 1'
	expect "$kind: with the settings as they were" settings_are
	expect "$kind: the same version again changes nothing" eval "installs $kind 2 || [[ $kind == rpm ]]; active && running_is 2 && previous_is 1"

	inside systemctl stop "$name"
	expect "$kind: a stopped worker is upgraded" installs "$kind" 3
	expect "$kind: and stays stopped" eval 'not active && current_is 3 && previous_is 2'
	expect "$kind: its new settings file lies beside the user's, which is as it was" eval "settings_are && new_beside $kind"
	expect "$kind: the version two before is gone" not there "$home/versions/${versions[0]}"

	inside systemctl start "$name"
	expect "$kind: two versions back" installs "$kind" 1
	expect "$kind: and it runs that" eval 'active && running_is 1 && previous_is 3 && settings_are'
	expect "$kind: and two versions on" installs "$kind" 3
	expect "$kind: and it runs that one" eval 'active && running_is 3'

	mkdir -p "$root$state/dead-letters/2026"
	echo '{}' >"$root$state/dead-letters/2026/letter.json"
	expect "$kind: it is removed while it runs" removes "$kind"
	expect "$kind: and has stopped, for the next boot too" not eval 'active || enabled'
	expect "$kind: nothing is left of the program" not eval "there /opt/cloudcafe || there /usr/bin/$name || there /usr/lib/systemd/system/$name.service"
	expect "$kind: dead letters are" there "$state/dead-letters/2026/letter.json"
}

life deb
expect "deb: removed, the settings are kept" settings_are
expect "deb: installed again" installs deb 3
expect "deb: it has its settings" eval 'settings_are && not active'
expect "deb: purge" told deb -P "$name"
expect "deb: purge names what it keeps" says 'stays, with 1 files'
expect "deb: purge takes settings and logs" not eval "there /etc/cloudcafe || there /var/log/$name"
expect "deb: purge keeps dead letters" there "$state/dead-letters/2026/letter.json"
rm -rf "${root:?}$state"

life rpm
expect "rpm: removed, the settings are kept aside" grep -q '^# mine$' "$root$config.rpmsave"

# ---- deploy-ec2.sh and the packages -----------------------------------------------

mkdir "$root/root/deploy"
cp -R "$repo/deploy/." "$root/root/deploy/"
script() { inside "${aws_settings[@]}" bash /root/deploy/deploy-ec2.sh "$@" </dev/null; }
refused() { # TEXT COMMAND...: it fails, and says the text
	local text=$1
	shift
	not told "$@" && says "$text"
}
settings=()
for s in "${aws_settings[@]}" METRICS_INTERVAL=0; do settings+=(--set "$s"); done
expect "deploy-ec2.sh takes the deb, checked against SHA256SUMS" script "${settings[@]}" /root/packages/1.deb
expect "and it runs" eval 'active && running_is 1'
expect "deploy-ec2.sh takes the rpm" script /root/packages/3.rpm
expect "and it runs" eval 'active && running_is 3 && previous_is 1'
echo >>"$root/root/packages/2.rpm"
expect "a package that was changed is refused" refused 'is not what was released' script /root/packages/2.rpm
expect "a package beside it is refused" refused 'deploy-ec2.sh --uninstall' installs deb 3
expect "deploy-ec2.sh removes what it installed" script --uninstall --purge
expect "the deb is installed" installs deb 3
for action in --uninstall --rollback "/root/packages/1.deb"; do
	expect "deploy-ec2.sh $action leaves the package alone" refused 'the package .* is installed' script "$action"
done
expect "which is whole" eval "current_is 3 && [[ -z \$(inside dpkg -V $name) ]]"
configure
expect "the deb is removed" removes deb
expect "deploy-ec2.sh takes its place" script /root/packages/1.deb
expect "and runs with its settings" eval 'active && running_is 1 && settings_are'
expect "deploy-ec2.sh makes room for the deb again" script --uninstall
expect "the deb is installed over the settings" installs deb 3
expect "which it keeps, and is whole" eval "current_is 3 && settings_are && grep -qx '# mine' $root$config"

# ---- hosts that are not as they should be -----------------------------------------

stop_machine
# fresh: a system that runs nothing, in $bare.
fresh() {
	bare=$work/bare
	rm -rf "$bare"
	cp -a "$base/." "$bare"
	cp "$versioned"/*.deb "$bare/root/"
}
bare() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive chroot "$bare" "$@"; }

user_kept() { [[ $(bare id -u "$name") == 1234 ]]; }
bare_runs() { [[ $(bare "$name" version) == "$name v${versions[$1 - 1]} "* ]]; }
bare_without() { # PATH...: none of them is there
	local path
	for path; do [[ ! -e $bare$path && ! -L $bare$path ]] || return; done
}
fresh
bare useradd --create-home --uid 1234 "$name" # somebody of that name, with a group of that name
expect "no systemd, and the user exists: it installs" bare dpkg -i /root/1.deb
expect "the user is as before" user_kept
expect "upgrade without systemd" bare dpkg -i /root/2.deb
expect "and it is the new version" bare_runs 2
expect "remove without systemd" bare dpkg -r "$name"
expect "and nothing is left of the program" bare_without /opt/cloudcafe "/usr/bin/$name"
expect "purge without systemd" bare dpkg -P "$name"
expect "nothing is left" bare_without "$state" /etc/cloudcafe
expect "the user is nobody's to delete" user_kept

fresh
cat >"$work/read-only" <<'END'
mount --make-rprivate /
mount --bind "$1/etc" "$1/etc"
mount -o remount,ro,bind "$1/etc"
exec chroot "$1" dpkg -i /root/1.deb
END
read_only() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin unshare --mount sh -e "$work/read-only" "$bare"; }
expect "a read-only /etc is refused" not told read_only
expect "and said" says 'is /etc writable'
expect "and installs once it can be written" bare dpkg -i /root/1.deb

fresh
mkdir -p "$bare/etc/systemd/system"
echo '[Service]' >"$bare/etc/systemd/system/$name.service"
expect "beside an installation by deploy-ec2.sh it is refused" not told bare dpkg -i /root/1.deb
expect "and said" says 'deploy-ec2.sh --uninstall'
finish
