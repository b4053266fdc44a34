# What the checks share: a machine with a real systemd, in namespaces of its own over
# a Debian that debootstrap made, and the local AWS beside it. Sourced.
# shellcheck shell=bash disable=SC2034
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
export PATH=$PATH:/usr/local/go/bin
readonly suite=bookworm # its systemd is 252, as that of Amazon Linux 2023
readonly packages=systemd,dbus,curl,ca-certificates,git,rpm,cpio,sudo
base=${XDG_CACHE_HOME:-$HOME/.cache}/analytics-worker/$suite-$(cksum <<<"$packages" | cut -d ' ' -f 1)

# work is this check's alone; what is built once for all checks is in DEPLOY_TEST_BUILT.
work=$(mktemp -d "${TMPDIR:-/tmp}/deploy-test.XXXXXX")
built=${DEPLOY_TEST_BUILT:-$work}
init='' supervisor='' localaws=''
groups=() # the machine's own control groups
failed=0

stop_machine() {
	local group
	if [[ -n $supervisor ]]; then
		kill -KILL "${init:-$supervisor}" 2>/dev/null || true
		wait "$supervisor" 2>/dev/null || true
	fi
	for group in "${groups[@]}"; do
		find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true # at once empty, or as soon as all have died
	done
	supervisor='' init='' groups=()
}

clean_up() {
	stop_machine
	if [[ -n $localaws ]]; then
		kill "$localaws" 2>/dev/null || true
		wait "$localaws" 2>/dev/null || true
	fi
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ok and bad tell how one thing came out.
ok() { echo "  ok    $* (${SECONDS} s)"; }
bad() {
	echo "  FAIL  $*"
	failed=1
}
# expect WHAT COMMAND...: it succeeds.
expect() {
	local what=$1
	shift
	if "$@" >"$work/expect" 2>&1; then ok "$what"; else
		bad "$what"
		sed 's/^/        /' "$work/expect" | tail -n 40
	fi
}
# finish is the end of a check.
finish() {
	((failed == 0)) || { echo "FAILED: $(basename "$0")"; exit 1; }
	echo "passed: $(basename "$0") in $SECONDS s"
}

# once FILE COMMAND...: the command makes FILE.new, which becomes FILE, unless it is there. Two
# checks that want the same wait for one another.
once() {
	local file=$1
	shift
	[[ -e $file ]] && return
	(
		flock 8
		[[ ! -e $file ]] || exit 0
		"$@" && mv "$file.new" "$file"
	) 8>"$built/lock"
}

apt_install() { (flock 8 && "$repo/scripts/apt-install" "$@") 8>"$built/lock"; }

# make_base makes the system that every machine begins with, once.
make_base() {
	[[ -d $base ]] && return
	((EUID == 0)) || { echo "needs root: it makes a small Debian and boots it in namespaces (sudo make test-deploy)" >&2; exit 1; }
	mkdir -p "$(dirname "$base")"
	exec 8>"$base.lock"
	flock 8
	[[ -d $base ]] && return
	command -v debootstrap >/dev/null || apt_install debootstrap
	echo "making $base, once" >&2
	rm -rf "$base.new"
	debootstrap --variant=minbase --include="$packages" "$suite" "$base.new" >"$base.log" 2>&1 ||
		{ echo "debootstrap failed:" >&2; tail -n 20 "$base.log" >&2; exit 1; }
	rm -rf "$base.new"/var/cache/apt/archives/*.deb
	mv "$base.new" "$base"
	flock -u 8
}

# start_machine boots one, which sees the folders of shared too (FOLDER:WHERE). Its network is this
# machine's, so that it reaches the local AWS.
shared=()
start_machine() {
	local _ group
	make_base
	root=$work/root
	mkdir -p "$root"
	cp -a "$base/." "$root"
	cat >"$work/boot" <<'BOOT'
set -e
root=$1
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
if mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup" && [ -d /sys/fs/cgroup/systemd ]; then
	mkdir -p "$root/sys/fs/cgroup/systemd" "$root/sys/fs/cgroup/unified"
	mount -t cgroup -o none,name=systemd,xattr cgroup "$root/sys/fs/cgroup/systemd"
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified" || true
else
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
fi
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for d in null zero full random urandom tty; do
	touch "$root/dev/$d"
	mount --bind "/dev/$d" "$root/dev/$d"
done
mkdir -p "$root/dev/pts" "$root/dev/shm"
mount -t devpts devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
shift
for d in "$@"; do
	mkdir -p "$root${d##*:}"
	mount --bind "${d%%:*}" "$root${d##*:}"
done
exec chroot "$root" /usr/bin/env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=console --log-level=warning
BOOT
	# A systemd takes the group that it is started in for the root of all: two must not share one.
	for group in /sys/fs/cgroup{,/systemd,/unified}; do
		if [[ -f $group/cgroup.procs ]] && mkdir "$group/$(basename "$work")" 2>/dev/null; then groups+=("$group/$(basename "$work")"); fi
	done
	printf '%s/cgroup.procs\n' "${groups[@]}" >"$work/groups"
	# shellcheck disable=SC2016
	bash -c 'while read -r procs; do [[ -z $procs ]] || echo $$ >"$procs" || true; done <"$0"; exec "$@"' "$work/groups" \
		unshare --mount --pid --uts --ipc --cgroup --fork --kill-child bash "$work/boot" "$root" "${shared[@]}" >"$work/boot.log" 2>&1 &
	supervisor=$!
	for _ in {1..1200}; do
		init=$(pgrep -P "$supervisor" | head -n 1 || true)
		[[ -n $init && $(cat "/proc/$init/comm" 2>/dev/null) == systemd ]] && inside systemctl is-active --quiet multi-user.target 2>/dev/null && return
		kill -0 "$supervisor" 2>/dev/null || break
		sleep 0.1
	done
	echo "the machine did not boot; it needs root with CAP_SYS_ADMIN, namespaces and cgroups:" >&2
	tail -n 20 "$work/boot.log" >&2
	exit 1
}

# inside COMMAND...: on the machine, as root, with an environment like cloud-init's.
inside() { nsenter -t "$init" -m -u -i -p -r -w -- /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

# local_aws starts the local AWS with a stream of two shards and the tables.
local_aws() {
	local _
	once "$built/localaws" build_localaws
	worker_of 1.0.0 >/dev/null
	: >"$work/localaws.log" # which is read before the other process may have made it
	"$built/localaws" --addr 127.0.0.1:0 >"$work/localaws.log" 2>&1 &
	localaws=$!
	aws_url=''
	for _ in {1..600}; do
		aws_url=$(sed -n 's,^localaws is ready on \(http://[0-9.:]*\) .*,\1,p' "$work/localaws.log")
		if [[ -n $aws_url ]] || ! kill -0 "$localaws" 2>/dev/null; then break; fi
		sleep 0.1
	done
	[[ -n $aws_url ]] || { echo "the local AWS did not start:" >&2; tail -n 20 "$work/localaws.log" >&2; exit 1; }
	aws_settings=("AWS_ENDPOINT_URL=$aws_url" AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local AWS_EC2_METADATA_DISABLED=true)
	outside schema --apply >"$work/schema.log" 2>&1
	outside publish --create 2 --count 20 >"$work/publish.log" 2>&1
}

build_localaws() (cd "$repo" && scripts/need-cc && CGO_ENABLED=1 "${GO:-go}" build -buildvcs=false -trimpath -o "$built/localaws.new" ./cmd/localaws)

# outside VERB...: the worker's program on this machine.
outside() { env -C "$work" "${aws_settings[@]}" "$built/analytics-worker-1.0.0" "$@"; }

faults() { curl -fsS -X PUT -d "$1" "$aws_url/_localaws/faults" >/dev/null; }

# worker_of VERSION builds it once and prints where it is.
worker_of() {
	once "$built/analytics-worker-$1" build_worker "$1"
	echo "$built/analytics-worker-$1"
}
build_worker() (cd "$repo" && CGO_ENABLED=0 "${GO:-go}" build -buildvcs=false -trimpath -ldflags "-X main.version=v$1" -o "$built/analytics-worker-$1.new" ./cmd/analytics-worker)

# release_tools builds what make release builds with.
release_tools() {
	(
		flock 8
		make -s --no-print-directory -C "$repo" .tools/release/ready
	) 8>"$built/lock"
}

# release VERSION [PROGRAM]: a release file of it in $work/dist, with SHA256SUMS, as make release makes it.
release() {
	local name=analytics-worker_$1_linux_amd64 program=${2:-}
	[[ -n $program ]] || program=$(worker_of "$1")
	mkdir -p "$work/dist/$name"
	cp "$program" "$work/dist/$name/analytics-worker"
	cp -R "$repo/deploy" "$work/dist/$name/deploy"
	cp "$repo/LICENSE" "$work/dist/$name/"
	tar -C "$work/dist" -cf - "$name" | gzip -1 >"$work/dist/$name.tar.gz"
	rm -rf "${work:?}/dist/$name"
	(cd "$work/dist" && sha256sum ./*.tar.gz | sed 's,\./,,' >SHA256SUMS)
	mkdir -p "$root/root/dist"
	cp "$work"/dist/* "$root/root/dist/"
}

# broken VERSION COMMAND [DOCTOR]: a release whose program answers and does not serve, but runs the command.
broken() {
	cp -n "$(worker_of 1.0.0)" "$root/root/dist/doctor"
	cat >"$work/broken" <<PROGRAM
#!/bin/sh
case \$1 in
version) echo analytics-worker v$1 go1.26 linux/amd64 ;;
doctor) ${3:-exec /root/dist/doctor doctor} ;;
*) $2 ;;
esac
PROGRAM
	chmod +x "$work/broken"
	release "$1" "$work/broken"
}

# script_there copies deploy/ to where deploy runs it.
script_there() {
	mkdir -p "$root/root/deploy"
	cp -R "$repo/deploy/." "$root/root/deploy/"
}
deploy() { inside bash /root/deploy/deploy-ec2.sh "$@"; }
tarball() { echo "/root/dist/analytics-worker_$1_linux_amd64.tar.gz"; }

# runs VERSION: the service is up, with that version's program.
runs() {
	local pid
	pid=$(inside systemctl show analytics-worker -p MainPID --value)
	[[ $(inside systemctl is-active analytics-worker) == active ]] && inside test "/proc/$pid/exe" -ef "/opt/cloudcafe/analytics-worker/versions/$1/analytics-worker"
}

# refused STATUS TEXT COMMAND...: it ends with the status and says the text.
refused() {
	local want=$1 text=$2 said status=0
	shift 2
	said=$("$@" 2>&1) || status=$?
	[[ $status == "$want" && $said == *"$text"* ]] || { echo "status $status, want $want and \"$text\": $said"; return 1; }
}

# given NAME: the value that the running worker has.
# shellcheck disable=SC2016 # for the shell on the machine
given() { inside bash -c 'tr "\0" "\n" <"/proc/$(systemctl show analytics-worker -p MainPID --value)/environ"' | sed -n "s/^$1=//p"; }

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
