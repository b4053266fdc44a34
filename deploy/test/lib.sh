# What the checks share: a machine with a real systemd, in namespaces of its own over
# a Debian that debootstrap made, and the local AWS beside it. Sourced.
# shellcheck shell=bash disable=SC2034
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
export PATH=$PATH:/usr/local/go/bin
readonly suite=bookworm # its systemd is 252, as that of Amazon Linux 2023
readonly packages=systemd,dbus,curl,ca-certificates,git,rpm,sudo
base=${XDG_CACHE_HOME:-$HOME/.cache}/analytics-worker/$suite-$(cksum <<<"$packages" | cut -d ' ' -f 1)

# work is this check's alone; what is built once for all checks is in DEPLOY_TEST_BUILT.
work=$(mktemp -d "${TMPDIR:-/tmp}/deploy-test.XXXXXX")
built=${DEPLOY_TEST_BUILT:-$work}
init='' supervisor='' localaws=''
failed=0

stop_machine() {
	if [[ -n $supervisor ]]; then
		kill -KILL "$init" 2>/dev/null || true
		wait "$supervisor" 2>/dev/null || true
	fi
	supervisor='' init=''
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

# make_base makes the system that every machine begins with, once.
make_base() {
	[[ -d $base ]] && return
	((EUID == 0)) || { echo "needs root: it makes a small Debian and boots it in namespaces (sudo make test-deploy)" >&2; exit 1; }
	mkdir -p "$(dirname "$base")"
	exec 8>"$base.lock"
	flock 8
	[[ -d $base ]] && return
	command -v debootstrap >/dev/null || "$repo/scripts/apt-install" debootstrap
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
	local _
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
	unshare --mount --pid --uts --ipc --cgroup --fork --kill-child bash "$work/boot" "$root" "${shared[@]}" >"$work/boot.log" 2>&1 &
	supervisor=$!
	for _ in {1..300}; do
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
	local _ port
	[[ -x $built/localaws ]] || (cd "$repo" && scripts/need-cc && CGO_ENABLED=1 "${GO:-go}" build -buildvcs=false -trimpath -o "$built/localaws" ./cmd/localaws)
	worker_of 1.0.0 >/dev/null
	for _ in {1..20}; do
		port=$((20000 + RANDOM % 20000))
		"$built/localaws" --addr "127.0.0.1:$port" >"$work/localaws.log" 2>&1 &
		localaws=$!
		for _ in {1..200}; do
			(: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break 2
			kill -0 "$localaws" 2>/dev/null || break
			sleep 0.1
		done
	done
	aws_url=http://127.0.0.1:$port
	aws_settings=("AWS_ENDPOINT_URL=$aws_url" AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local AWS_EC2_METADATA_DISABLED=true)
	outside schema --apply >"$work/schema.log" 2>&1
	outside publish --create 2 --count 20 >"$work/publish.log" 2>&1
}

# outside VERB...: the worker's program on this machine.
outside() { env "${aws_settings[@]}" "$built/analytics-worker-1.0.0" "$@"; }

faults() { curl -fsS -X PUT -d "$1" "$aws_url/_localaws/faults" >/dev/null; }

# worker_of VERSION builds it once and prints where it is.
worker_of() {
	local file=$built/analytics-worker-$1
	[[ -x $file ]] || (cd "$repo" && CGO_ENABLED=0 "${GO:-go}" build -buildvcs=false -trimpath -ldflags "-X main.version=v$1" -o "$file" ./cmd/analytics-worker)
	echo "$file"
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
