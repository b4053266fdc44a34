#!/usr/bin/env bash
# Install, upgrade or remove the analytics worker on an EC2 instance. --help says
# how. Functions only down to the last line, so that a "git pull" that replaces this
# file while it runs changes nothing of what runs.
set -euo pipefail

readonly NAME=analytics-worker
readonly BASE=/opt/cloudcafe/$NAME
readonly VERSIONS=$BASE/versions
readonly PENDING=$BASE/.pending # a change under way: where from, and the settings of before
readonly ENV_FILE=/etc/cloudcafe/$NAME.env
readonly STATE=/var/lib/$NAME
readonly LOGS=/var/log/$NAME
readonly UNIT=$NAME.service
readonly UNIT_FILE=/etc/systemd/system/$UNIT
readonly DROP_IN=$UNIT_FILE.d/50-deploy.conf
readonly COMMAND=/usr/local/bin/$NAME
readonly AGENT=/opt/aws/amazon-cloudwatch-agent
readonly AGENT_CONFIG=$BASE/cloudwatch-agent/$NAME.json
readonly LOCK=/run/$NAME-deploy.lock # not in /run/lock, where everybody may put a file in the way
readonly PARAMETERS=/cloudcafe/$NAME/ # in the Systems Manager Parameter Store

self=$(readlink -f "${BASH_SOURCE[0]}")
here=$(dirname "$self")
checkout=$(dirname "$here")

action=install source='' sha256='' checksum=yes dry_run='' agent=yes purge=''
verb=() # of --run
ready_within=60
declare -A wanted=() # settings of --set
work=''              # our temporary folder
changed=''           # something on this instance is not as it was
under_way=''         # from begin to finish

usage() {
	cat <<'HELP'
Usage: deploy-ec2.sh [OPTION]... [SOURCE]

Installs or upgrades the analytics worker on this instance (Amazon Linux 2023, Debian
or Ubuntu), starts it, and waits until it is ready: it owns shards, or others own
all. A new version that is not ready within a minute gives way to the one before.
Run again, it changes nothing that is as it should be. Needs root, or sudo.

SOURCE is one of
  (none)            the checkout or release that this script lies in; a checkout is built with Go
  FILE              a release: .tar.gz, .deb or .rpm (which are unpacked, not installed)
  DIR               a checkout, or an unpacked release
  s3://... https:// a release to fetch
A release file is checked against SHA256SUMS beside it, or against --sha256.

Options
  --sha256 HEX      the checksum that the release file must have
  --no-checksum     take a release file that nothing vouches for
  --set NAME=VALUE  write a setting into /etc/cloudcafe/analytics-worker.env; may be repeated
  --ready-within S  seconds until a new version must be ready (60)
  --no-agent        leave the CloudWatch agent alone
  --run VERB...     run a verb of the program (doctor, status, ...) as the service: its settings, its user
  --rollback        go back to the version before, or to where a run that was killed began
  --uninstall       remove program, unit and agent configuration; settings, state and logs stay
  --purge           with --uninstall: those too, with the dead letters on this disk, and the user
  --dry-run         say what would be done, and do nothing
  -h, --help        this

Settings come, the first time, from --set, else from the environment, else from
parameters under /cloudcafe/analytics-worker/ of the Parameter Store, else from the
instance's tags of their names. An upgrade keeps the file as it is, but for --set.

Status: 0 done; 1 failed (and what was changed is undone); 2 wrong usage, nothing was
tried; 3 started, but not ready yet, and there is nothing to go back to: it goes on
trying. Settings of --set with which a version is not ready any more are undone, too.

Examples
  KINESIS_STREAM_NAME=order-events REDSHIFT_CLUSTER_ID=my-cluster ./deploy-ec2.sh
  ./deploy-ec2.sh s3://my-bucket/releases/analytics-worker_1.4.0_linux_arm64.tar.gz
  ./deploy-ec2.sh --sha256 9f86d08... https://example.com/analytics-worker_1.4.0_linux_amd64.tar.gz
  ./deploy-ec2.sh --set BATCH_SIZE=5000 --set LOAD_INTERVAL=5
  ./deploy-ec2.sh --rollback
HELP
}

say() { echo "$NAME: $*"; }
warn() { echo "$NAME: $*" >&2; }
die() { warn "$*"; exit 1; }
wrong() { warn "$*; see --help"; exit 2; }

# run does it, or says that it would.
run() {
	changed=yes
	if [[ -n $dry_run ]]; then
		echo "would run: $*"
	else
		"$@"
	fi
}

# put FILE MODE [OWNER]: make FILE what standard input holds, at once and only where it
# differs. What is half written is never seen under the name.
put() {
	local file=$1 mode=$2 owner=${3:-root:root} text=$work/put
	cat >"$text"
	if cmp -s "$text" "$file" && [[ $(stat -c '%a %U:%G' "$file") == "${mode#0} $owner" ]]; then
		return
	fi
	run install -D -m "$mode" -o "${owner%:*}" -g "${owner#*:}" "$text" "$file.new"
	run sync "$file.new" # or the name may come back empty after a power failure
	run mv -f "$file.new" "$file"
}

options() {
	while (($# > 0)); do
		case $1 in
		-h | --help) usage && exit ;;
		--dry-run) dry_run=yes ;;
		--no-checksum) checksum='' ;;
		--no-agent) agent='' ;;
		--rollback) action=rollback ;;
		--uninstall) action=uninstall ;;
		--purge) purge=yes ;;
		--run)
			action=run verb=("${@:2}")
			((${#verb[@]} > 0)) || wrong "--run needs a verb of the program, such as doctor"
			break
			;;
		--sha256 | --set | --ready-within)
			(($# > 1)) || wrong "$1 needs a value"
			option_value "$1" "$2"
			shift
			;;
		-*) wrong "unknown option $1" ;;
		*)
			[[ -z $source ]] || wrong "one source at a time: $source, $1"
			source=$1
			;;
		esac
		shift
	done
	[[ -z $purge || $action == uninstall ]] || wrong "--purge goes with --uninstall"
	[[ $action == install || -z $source && -z $sha256 && ${#wanted[@]} == 0 ]] || wrong "--$action takes no source, --sha256 or --set"
	[[ -z $sha256 || -n $source && ! -d $source ]] || wrong "--sha256 goes with a release file"
	case $source in
	'' | s3://?*/?* | https://?*) ;;
	*://*) wrong "$source: a source is fetched by s3:// or https://" ;;
	*) [[ -e $source ]] || wrong "$source is not there" && source=$(readlink -f "$source") ;;
	esac
}

option_value() {
	case $1 in
	--sha256)
		sha256=${2,,}
		[[ $sha256 =~ ^[0-9a-f]{64}$ ]] || wrong "--sha256 takes 64 hexadecimal digits"
		;;
	--ready-within)
		ready_within=$2
		[[ $ready_within =~ ^[1-9][0-9]{0,3}$ ]] || wrong "--ready-within takes seconds, 1 to 9999"
		;;
	--set)
		[[ $2 =~ ^[A-Z][A-Z0-9_]*= ]] || wrong "--set takes NAME=VALUE, with a name of capital letters"
		wanted[${2%%=*}]=${2#*=}
		;;
	esac
}

# as_root starts the script again by sudo where it has to. sudo clears the environment,
# so the settings in it are named to it.
as_root() {
	((EUID == 0)) && return
	local name names=()
	command -v sudo >/dev/null || die "needs root: run it as root, or install sudo"
	for name in $(compgen -e); do
		[[ $name =~ ^([A-Z][A-Z0-9_]*|[a-z]+_proxy)$ && ! $name =~ ^(HOME|PATH|USER|LOGNAME|MAIL|SHELL|SUDO_.*|LD_.*|BASH.*)$ ]] && names+=("$name")
	done
	exec sudo --preserve-env="$(IFS=,; echo "${names[*]}")" -- bash "$self" "$@"
}

one_at_a_time() {
	exec 9>"$LOCK"
	if ! flock -n 9; then
		say "another deployment runs on this instance; waiting for it"
		flock -w 900 9 || die "the other deployment has not ended for 15 minutes: look at it (fuser $LOCK), then run this again"
	fi
}

# workplace makes $work, where programs can be started, which hardened systems forbid in /tmp and /var/tmp. The first choice
# is on a disk: /tmp is memory on Amazon Linux, and a build wants more of it than a small instance has.
workplace() {
	local dir
	for dir in "${TMPDIR:-/var/tmp}" /run /root; do
		[[ -n $dry_run ]] || rm -rf "$dir/$NAME-deploy."?????? # of one that was killed; nobody else is at work now
		work=$(mktemp -d "$dir/$NAME-deploy.XXXXXX") || continue
		printf '#!/bin/sh\n' >"$work/try"
		chmod +x "$work/try"
		if "$work/try" 2>/dev/null; then
			rm -f "$work/try"
			export TMPDIR=$work # of Go, too
			return
		fi
		rm -rf "$work"
	done
	die "no program can be started in ${TMPDIR:-/var/tmp}, /run or /root (mounted noexec?): set TMPDIR to a folder where one can"
}

# ---- the source -------------------------------------------------------------------

# need PROGRAM PACKAGE: install what is missing, by whatever the system has for it.
need() {
	command -v "$1" >/dev/null && return
	[[ -z $dry_run ]] || { echo "would install: $2"; return; }
	say "installing $2, for $1"
	if command -v dnf >/dev/null; then
		dnf install -y -q "$2" >/dev/null || true
	elif command -v apt-get >/dev/null; then
		{ apt_install "$2" || { apt-get update -qq && apt_install "$2"; }; } >"$work/apt" 2>&1 || sed 's/^/  /' "$work/apt" >&2
	fi
	hash -r
	command -v "$1" >/dev/null || die "$1 is missing and the package $2 could not be installed: install it, or see --help for another source"
}

# apt_install PACKAGE waits for whoever else installs, as a new instance does while it boots.
apt_install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "$1"; }

# fetch URL FILE
fetch() {
	case $1 in
	s3://*) aws s3 cp --only-show-errors "$1" "$2" ;;
	*) curl -fsSL --proto '=https' --retry 3 --retry-connrefused --connect-timeout 10 --max-time 600 -o "$2" "$1" ;;
	esac
}

# check FILE SUMS: the file is what its checksum says.
check() {
	local file=$1 sums=$2 is said=$sha256
	is=$(sha256sum "$file")
	is=${is%% *}
	if [[ -z $said && -f $sums ]]; then
		said=$(awk -v name="$(basename "$file")" '{ n = $2; sub(/^\*/, "", n); if (n == name) print tolower($1) }' "$sums" | head -n 1)
	fi
	if [[ -z $said && -z $checksum ]]; then
		warn "$(basename "$file") is taken unchecked; it is $is"
	elif [[ -z $said ]]; then
		die "nothing vouches for $(basename "$file"): put SHA256SUMS beside it, or give --sha256 $is once you have compared it with the release's, or --no-checksum"
	elif [[ $said != "$is" ]]; then
		die "$(basename "$file") is not what was released: its checksum is $is and should be $said. Fetch it again; nothing was changed"
	fi
}

# unpack FILE DIR
unpack() {
	local file=$1 dir=$2
	mkdir -p "$dir"
	case $file in
	*.tar.gz | *.tgz)
		need tar tar
		need gzip gzip
		tar -xzf "$file" --no-same-owner -C "$dir"
		;;
	*.deb)
		command -v dpkg-deb >/dev/null || die "a .deb cannot be unpacked here: give the .tar.gz or the .rpm"
		dpkg-deb -x "$file" "$dir"
		;;
	*.rpm)
		command -v rpm2cpio >/dev/null || die "an .rpm cannot be unpacked here: give the .tar.gz or the .deb"
		need cpio cpio
		# rpm2cpio reports a failure where the size in the header, which nfpm counts another
		# way, is not that of what it wrote. What is cut off, cpio finds.
		{ rpm2cpio "$file" || true; } | (cd "$dir" && cpio -idm --quiet --no-absolute-filenames) 2>"$work/cpio" || { cat "$work/cpio" >&2; false; }
		;;
	*) die "$(basename "$file") is no .tar.gz, .deb or .rpm" ;;
	esac || die "$(basename "$file") cannot be unpacked: it is damaged, or something else; fetch it again"
}

# obtain makes $work/new a version as it is installed: the binary, and deploy/ beside it.
obtain() {
	local file tree=$work/tree tool=(curl curl)
	case $source in
	s3://* | https://*)
		if [[ $source == s3:* ]]; then
			if command -v dnf >/dev/null; then tool=(aws awscli-2); else tool=(aws awscli); fi
		fi
		need "${tool[@]}"
		command -v "${tool[0]}" >/dev/null || { echo "would fetch: $source"; return; } # a dry run
		file=$work/$(basename "${source%%\?*}")
		say "fetching $source"
		fetch "$source" "$file" || die "$source cannot be fetched: check the name and, for S3, that the instance's role may read it (s3:GetObject)"
		[[ -n $sha256 ]] || fetch "$(dirname "${source%%\?*}")/SHA256SUMS" "$work/SHA256SUMS" 2>/dev/null || rm -f "$work/SHA256SUMS"
		check "$file" "$work/SHA256SUMS"
		unpack "$file" "$tree"
		;;
	'')
		tree=$checkout
		[[ -f $tree/go.mod || -f $tree/$NAME ]] || die "this script lies in no checkout and in no release: say what to install (a release file, or where to fetch one); see --help"
		;;
	*)
		if [[ -d $source ]]; then
			tree=$source
		else
			check "$source" "$(dirname "$source")/SHA256SUMS"
			unpack "$source" "$tree"
		fi
		;;
	esac
	if [[ -f $tree/go.mod && -d $tree/cmd/$NAME ]]; then
		build "$tree"
	else
		collect "$tree"
	fi
}

# build TREE: from source.
build() {
	local tree=$1 version default
	# cloud-init and the SSM agent set no HOME, and Go wants a place for its cache.
	export HOME=${HOME:-/root}
	[[ -d /usr/local/go/bin ]] && PATH=$PATH:/usr/local/go/bin
	if command -v dnf >/dev/null; then need go golang; else need go golang-go; fi
	version=$(as_owner "$tree" git -C "$tree" describe --tags --always --dirty 2>/dev/null || true)
	trust "$tree"
	mkdir -p "$work/new"
	if [[ -n $dry_run ]]; then
		echo "would build: $NAME ${version:-} from $tree"
		return
	fi
	# What Go does unless told otherwise. Go of Fedora, which that of Amazon Linux comes from, is told otherwise in its
	# go.env, and would not fetch the Go that go.mod names.
	for default in GOTOOLCHAIN=auto GOPROXY=https://proxy.golang.org,direct GOSUMDB=sum.golang.org; do
		[[ -v ${default%%=*} ]] || grep -qs "^${default%%=*}=" "$(go env GOENV)" || export "${default?}"
	done
	say "building $NAME $version from $tree"
	(cd "$tree" && CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-X main.version=$version" -o "$work/new/$NAME" "./cmd/$NAME") ||
		die "the build failed. It needs $(grep -m 1 '^go ' "$tree/go.mod") or later (go version: $(go version 2>&1)) and the Go module proxy; or deploy a release file, which needs neither"
	cp -R "$tree/deploy" "$work/new/deploy"
	rm -rf "$work/new/deploy/test"
	[[ ! -f $tree/LICENSE ]] || cp "$tree/LICENSE" "$work/new/"
}

# as_owner FILE COMMAND...: as its owner does it. git refuses root what is another user's.
as_owner() {
	local owner
	owner=$(stat -c %U "$1")
	shift
	if [[ $owner == root || $owner == UNKNOWN ]]; then "$@"; else runuser -u "$owner" -- "$@"; fi
}

# trust TREE: a checkout of another user's is one that root may "git pull" in, as the
# documented command of Systems Manager does. Whoever owns it is root's equal as soon as
# root runs this script from it.
trust() {
	local top
	top=$(as_owner "$1" git -C "$1" rev-parse --show-toplevel 2>/dev/null) || return 0
	[[ $(stat -c %u "$top") != 0 ]] || return 0
	git config --system --get-all safe.directory 2>/dev/null | grep -qxF -e "$top" -e '*' && return
	say "letting root use git in $top: it is another user's"
	run git config --system --add safe.directory "$top"
}

# collect TREE: from an unpacked release, in whatever folders it keeps them.
collect() {
	local tree=$1 binary unit name found
	binary=$(find "$tree" -type f -name "$NAME" -perm -u+x -not -path '*/.git/*' -print -quit)
	unit=$(find "$tree" -type f -name "$UNIT" -print -quit)
	[[ -n $binary && -n $unit ]] || die "this is no release of $NAME (no program or no unit in it): $tree. From a checkout, go.mod must be there"
	mkdir -p "$work/new/deploy/systemd"
	cp "$binary" "$work/new/$NAME"
	cp "$unit" "$work/new/deploy/systemd/"
	for name in "$NAME.env" cloudwatch-agent.json deploy-ec2.sh; do
		found=$(find "$tree" -type f -name "$name" -print -quit)
		[[ -z $found ]] || cp "$found" "$work/new/deploy/"
	done
	[[ -f $work/new/deploy/deploy-ec2.sh ]] || cp "$self" "$work/new/deploy/"
	for name in LICENSE licenses; do
		[[ ! -e $(dirname "$binary")/$name ]] || cp -R "$(dirname "$binary")/$name" "$work/new/"
	done
}

# version_of BINARY: what it says of itself. That it says something shows that it runs here.
version_of() {
	local said
	said=$(timeout 60 "$1" version 2>&1) || die "the program does not run on this machine ($(uname -m)): $said. Take the release for its processor: amd64 or arm64"
	said=${said#"$NAME "}
	said=${said%% *}
	said=$(echo "${said#v}" | tr -c 'A-Za-z0-9.+~_\n-' '_')
	[[ $said == [A-Za-z0-9_]* ]] || said=_$said # never "", ".." or hidden
	echo "$said"
}

# ---- settings ---------------------------------------------------------------------

# quoted VALUE: as systemd reads it in an EnvironmentFile, and a shell too.
quoted() {
	local v=$1
	v=${v//\\/\\\\}
	v=${v//\"/\\\"}
	v=${v//\$/\\\$}
	v=${v//\`/\\\`}
	printf '"%s"' "$v"
}

# storable NAME VALUE: refuse what a line of an EnvironmentFile cannot hold.
storable() {
	[[ $2 != *[[:cntrl:]]* ]] || die "$1 holds a line break or another control character, which no setting takes: set it without (a file or parameter often ends in a line break)"
	LC_ALL=C.UTF-8 grep -qax '.*' <<<"$2" || die "$1 is not valid UTF-8: systemd would drop it; set it again"
}

# from_instance fills wanted with what the Parameter Store and the instance's tags say,
# for the names given and only where nothing else said it.
from_instance() {
	local name value end token tags endpoint=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}
	if command -v aws >/dev/null && [[ ${AWS_EC2_METADATA_DISABLED:-} != true ]]; then
		while IFS=$'\t' read -r name value; do
			name=${name#"$PARAMETERS"}
			[[ " $* " == *" $name "* && ! -v wanted[$name] ]] || continue
			end=${value##*$'\t'} value=${value%$'\t'*}
			[[ $end == . ]] || value+=$'\n' # the line goes on behind a line break
			wanted[$name]=$value
			say "$name comes from the parameter $PARAMETERS$name"
		done < <(AWS_MAX_ATTEMPTS=2 timeout 20 aws ssm get-parameters-by-path --path "${PARAMETERS%/}" --with-decryption \
			--cli-connect-timeout 3 --query "Parameters[].[Name,Value,'.']" --output text 2>"$work/ssm" || true)
		[[ ! -s $work/ssm ]] || say "no parameters below $PARAMETERS are used: $(grep . "$work/ssm" | tail -n 1 | cut -c 1-300)"
	fi
	command -v curl >/dev/null && [[ ${AWS_EC2_METADATA_DISABLED:-} != true ]] || return 0
	token=$(curl -fs --connect-timeout 1 --max-time 3 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$endpoint/latest/api/token" 2>/dev/null) || return 0
	# 404 where the launch template does not show the tags (InstanceMetadataTags).
	tags=$(curl -fs --max-time 3 -H "X-aws-ec2-metadata-token: $token" "$endpoint/latest/meta-data/tags/instance/" 2>/dev/null) || return 0
	while read -r name; do
		name=${name%/}
		[[ " $* " == *" $name "* && ! -v wanted[$name] ]] || continue
		value=$(curl -fs --max-time 3 -H "X-aws-ec2-metadata-token: $token" "$endpoint/latest/meta-data/tags/instance/$name") || continue
		wanted[$name]=$value
		say "$name comes from the instance's tag"
	done <<<"$tags"
}

# gather fills wanted with all that is to be written, from wherever it is said.
gather() {
	local sample=$1 name names=()
	if [[ -f $ENV_FILE ]]; then
		while read -r name; do
			[[ -v $name && ! -v wanted[$name] ]] && ! grep -qxF "$name=$(quoted "${!name}")" "$ENV_FILE" &&
				say "$name of the environment is not written: $ENV_FILE is kept; --set $name=... changes it"
		done < <(sample_names "$sample") || true
	else
		mapfile -t names < <(sample_names "$sample")
		for name in "${names[@]}"; do
			if [[ -v $name && ! -v wanted[$name] ]]; then wanted[$name]=${!name}; fi
		done
		from_instance "${names[@]}"
	fi
	for name in "${!wanted[@]}"; do
		storable "$name" "${wanted[$name]}"
	done
}

# settings writes the environment file: whole where there is none, else what --set says.
settings() {
	local sample=$1 name line done_with=' ' text=''
	if [[ -f $ENV_FILE ]]; then sample=$ENV_FILE; fi
	while IFS= read -r line || [[ -n $line ]]; do
		name=${line#\#}
		name=${name%%=*}
		if [[ $line =~ ^\#?[A-Z][A-Z0-9_]*= && -v wanted[$name] ]]; then
			[[ $done_with == *" $name "* ]] || text+=$name=$(quoted "${wanted[$name]}")$'\n'
			done_with+="$name "
		else
			text+=$line$'\n'
		fi
	done <"$sample"
	for name in $(printf '%s\n' "${!wanted[@]}" | sort); do
		[[ $done_with == *" $name "* ]] || text+=$name=$(quoted "${wanted[$name]}")$'\n'
	done
	put "$ENV_FILE" 0640 "root:$NAME" < <(printf %s "$text")
}

sample_names() { sed -nE 's/^#?([A-Z][A-Z0-9_]*)=.*/\1/p' "$1"; }

# setting NAME DEFAULT: as it stands in the file, the last one holds.
setting() {
	local value
	value=$(sed -nE "s/^$1=\"?([^\"]*)\"?\$/\\1/p" "$ENV_FILE" 2>/dev/null | tail -n 1)
	value=${value//[$'\r'\']/}
	echo "${value:-$2}"
}

# limits is a drop-in that keeps the unit's wall behind MEMORY_LIMIT: 64 MiB above it,
# for what the kernel counts and the worker does not.
limits() {
	local bytes limit
	limit=$(setting MEMORY_LIMIT 256MiB)
	bytes=$(numfmt --from=auto "$(sed -E 's/[Bb]$//; s/^k/K/; s/([0-9])k/\1K/' <<<"${limit// /}")" 2>/dev/null || true)
	[[ $bytes =~ ^[0-9]+$ ]] || warn "MEMORY_LIMIT=$limit is not understood here, so MemoryMax stays at the unit's own: see systemctl edit $NAME"
	if [[ ! $bytes =~ ^[0-9]+$ || $limit == 256MiB ]]; then
		if [[ -e $DROP_IN ]]; then run rm -f "$DROP_IN"; fi
		return 0
	fi
	put "$DROP_IN" 0644 <<DROP
# Written by deploy-ec2.sh for MEMORY_LIMIT=$limit.
[Service]
MemoryMax=$((bytes + (64 << 20)))
DROP
}

# ---- the installation -------------------------------------------------------------

# linked NAME: the version that a link points to, or nothing.
linked() { basename "$(readlink "$BASE/$1" 2>/dev/null)" 2>/dev/null || true; }

# point NAME VERSION: the link, in one step.
point() {
	[[ $(linked "$1") == "$2" ]] && return
	run ln -sfn "versions/$2" "$BASE/.$1.new"
	run mv -fT "$BASE/.$1.new" "$BASE/$1"
}

refuse_package() {
	if command -v dpkg-query >/dev/null && [[ $(dpkg-query -W -f '${db:Status-Status}' "$NAME" 2>/dev/null) == installed ]]; then
		die "the package $NAME is installed: upgrade it with apt-get, or remove it first (apt-get remove $NAME keeps the settings)"
	fi
	if command -v rpm >/dev/null && rpm -q "$NAME" >/dev/null 2>&1; then
		die "the package $NAME is installed: upgrade it with dnf, or remove it first (dnf remove $NAME keeps the settings)"
	fi
}

account() {
	getent passwd "$NAME" >/dev/null && return
	getent group "$NAME" >/dev/null || run groupadd --system "$NAME" || die "the group $NAME could not be made: is /etc writable? Nothing was switched"
	run useradd --system --gid "$NAME" --home-dir "$STATE" --no-create-home --shell /usr/sbin/nologin "$NAME" ||
		die "the user $NAME could not be made: is /etc writable? Nothing was switched"
}

# store puts $work/new among the versions and names it in $version. Of two programs that
# call themselves the same, the second one's name gets its checksum.
store() {
	local sum
	version=$(version_of "$work/new/$NAME")
	if [[ -e $VERSIONS/$version && ! -e $VERSIONS/$version/$NAME ]] || { [[ -e $VERSIONS/$version/$NAME ]] && ! cmp -s "$work/new/$NAME" "$VERSIONS/$version/$NAME"; }; then
		sum=$(sha256sum "$work/new/$NAME")
		version+=+${sum:0:12}
	fi
	if [[ -d $VERSIONS/$version ]]; then
		# The program is there and may be running; what comes with it may be newer.
		diff -rq "$work/new" "$VERSIONS/$version" >/dev/null 2>&1 && return
		rm -f "$work/new/$NAME"
		run chown -R root:root "$work/new"
		run chmod -R u=rwX,go=rX "$work/new"
		run cp -a --remove-destination "$work/new/." "$VERSIONS/$version/"
		return
	fi
	# The program's own bytes must be on the disk before anything points to it.
	run install -d -m 0755 "$BASE" "$VERSIONS" && run rm -rf "$VERSIONS/.new" && run cp -R "$work/new" "$VERSIONS/.new" &&
		run chown -R root:root "$VERSIONS/.new" && run chmod -R u=rwX,go=rX "$VERSIONS/.new" && run sync -f "$VERSIONS/.new/$NAME" &&
		run mv -T "$VERSIONS/.new" "$VERSIONS/$version" && return
	rm -rf "$VERSIONS/.new"
	die "$version could not be written to $VERSIONS (see above; is the disk full, or read-only?). Nothing was changed: make room, then run this again"
}

# keep_foreign keeps a unit of the same name that is none of ours, such as that of a program which this one replaces.
keep_foreign() {
	[[ -f $UNIT_FILE && ! -e $UNIT_FILE.before ]] && ! grep -q "^ExecStart=$BASE/current/" "$UNIT_FILE" || return 0
	run cp -p "$UNIT_FILE" "$UNIT_FILE.before"
	say "another $UNIT is here, and is replaced; it is kept as $UNIT_FILE.before. To have it back: --uninstall, then give it its name again"
}

# activate VERSION: unit and link are that version's.
activate() {
	local deploy=$VERSIONS/$1/deploy
	[[ -z $dry_run || -d $deploy ]] || deploy=$work/new/deploy
	put "$UNIT_FILE" 0644 <"$deploy/systemd/$UNIT"
	limits
	point current "$1"
	if [[ $(readlink "$COMMAND" 2>/dev/null) != "$BASE/current/$NAME" ]]; then
		run ln -sfn "$BASE/current/$NAME" "$COMMAND.new"
		run mv -fT "$COMMAND.new" "$COMMAND"
	fi
	if [[ -n $agent && -f $deploy/cloudwatch-agent.json ]]; then agent_config "$deploy/cloudwatch-agent.json"; fi
}

agent_config() {
	local was=$changed taken=$AGENT/etc/amazon-cloudwatch-agent.d/file_$NAME.json # what the agent makes of it
	if [[ ! -x $AGENT/bin/amazon-cloudwatch-agent-ctl ]] && command -v dnf >/dev/null; then
		run dnf install -y -q amazon-cloudwatch-agent >/dev/null || warn "the CloudWatch agent could not be installed; the log is in the journal and in $LOGS"
	fi
	changed=''
	put "$AGENT_CONFIG" 0644 <"$1"
	if [[ ! -x $AGENT/bin/amazon-cloudwatch-agent-ctl ]]; then
		[[ -z $changed ]] || say "the CloudWatch agent is not installed: install it and run this again, for the log to go to CloudWatch too"
	elif [[ -n $changed ]] || ! cmp -s "$1" "$taken"; then
		run "$AGENT/bin/amazon-cloudwatch-agent-ctl" -a append-config -m ec2 -s -c "file:$AGENT_CONFIG" >/dev/null ||
			warn "the CloudWatch agent did not take $AGENT_CONFIG: see $AGENT/logs; the log is in the journal and in $LOGS"
	fi
	changed=$was # the worker need not be started anew for it
}

# begin FROM: note what the change starts from, so that a run that is killed is undone
# or finished by the next one.
begin() {
	[[ -z $dry_run ]] || return 0
	under_way=yes
	[[ -e $PENDING ]] && return # from a run that was killed: what it started from holds
	rm -rf "$PENDING.new"
	mkdir -p "$PENDING.new"
	echo "$1" >"$PENDING.new/from"
	if [[ -f $ENV_FILE ]]; then cp -p "$ENV_FILE" "$PENDING.new/env"; fi
	sync "$PENDING.new"/*
	mv -T "$PENDING.new" "$PENDING"
}

# finish: the change is done, or undone. In one step, as begin.
finish() {
	under_way=''
	[[ -z $dry_run && -e $PENDING ]] || return 0
	rm -rf "$PENDING.new"
	mv -T "$PENDING" "$PENDING.new"
	rm -rf "$PENDING.new"
}

# ---- running it -------------------------------------------------------------------

show() { systemctl show "$UNIT" --property="$1" --value 2>/dev/null || true; }

# runs VERSION: the service is active, with that version's program.
runs() {
	local pid
	pid=$(show MainPID)
	[[ $(show ActiveState) == active && $pid =~ ^[1-9] ]] && [[ /proc/$pid/exe -ef $VERSIONS/$1/$NAME ]]
}

# start: from now on, and wait until it is ready. One that runs loads what it has read, and stops.
start() {
	local until='' was id job state sub
	was=$(show InvocationID)
	run systemctl reset-failed --quiet "$UNIT" || true
	# It is asked for in a condition, where a command that fails does not end the script. Stopping and starting are one
	# job: were they two, and the script killed while the worker drains, nothing would run.
	if ! run systemctl daemon-reload || ! run systemctl enable --quiet "$UNIT" || ! run systemctl restart --no-block "$UNIT"; then
		why="not started: systemctl refused it (see above)"
		return 1
	fi
	if [[ -n $dry_run ]]; then
		echo "would wait until it is ready, for $ready_within s at most"
		return
	fi
	while :; do
		id=$(show InvocationID) job=$(show Job) # before the state, which is then as new at least
		state=$(show ActiveState) sub=$(show SubState)
		if [[ $id == "$was" ]]; then # the one before, which is not timed
			if [[ ! $job =~ [1-9] && $state =~ ^(inactive|failed)$ ]]; then
				why="not started: somebody has stopped it meanwhile"
				return 1
			fi
		else
			until=${until:-$((SECONDS + ready_within))}
			case $state/$sub in
			active/*) return 0 ;;
			failed/* | */auto-restart)
				why="it ended: $(show Result), status $(show ExecMainStatus)"
				return 1
				;;
			esac
			if ((SECONDS >= until)); then
				why="not ready within $ready_within s: $(show StatusText)"
				return 1
			fi
		fi
		sleep 0.3
	done
}

tail_of_log() {
	warn "the last lines of its log (all of it: journalctl -u $NAME):"
	journalctl -u "$UNIT" -n 8 -o cat --no-pager 2>/dev/null | cut -c 1-400 | sed 's/^/  /' >&2 || true
}

# as_service OPTION... COMMAND...: as the unit would run it, to its end.
as_service() {
	systemd-run --quiet --wait --collect --property=User=$NAME --property=Group=$NAME --property=EnvironmentFile="$ENV_FILE" \
		--property=StateDirectory=$NAME --property=StateDirectoryMode=0750 --property=WorkingDirectory="$STATE" "$@"
}

# run_verb runs a verb of the program in use.
run_verb() {
	local way=--pipe
	[[ -x $BASE/current/$NAME && -f $ENV_FILE ]] || die "nothing is installed here"
	if [[ -t 0 && -t 1 ]]; then way=--pty; fi
	as_service "$way" "$BASE/current/$NAME" "${verb[@]}"
}

# examine BINARY: doctor, as the unit would run it. What it finds is shown; wrong settings
# are the end, as starting would be.
examine() {
	local out status=0
	if [[ -n $dry_run ]]; then
		echo "would run: doctor with the new version"
		return
	fi
	say "doctor:"
	# It bounds itself, to less than a minute; what hangs all the same must not hold up the deployment.
	out=$(as_service --pipe --property=RuntimeMaxSec="$ready_within" "$1" doctor 2>&1) || status=$?
	echo "  ${out//$'\n'/$'\n'  }"
	if grep -qE '^FAIL +settings ' <<<"$out"; then return 2; fi
	((status == 0)) || warn "doctor found something wrong; the worker waits for what may yet come, so it is started all the same"
}

# ---- what is asked for ------------------------------------------------------------

install_version() {
	local from version why='' before='' restart='' was_ready='' back=''
	obtain
	if [[ -n $dry_run && ! -e $work/new/$NAME ]]; then
		echo "would install it under $VERSIONS, write $ENV_FILE, $UNIT_FILE and $AGENT_CONFIG, run doctor, start $UNIT and wait until it is ready"
		return
	fi
	from=$(linked current)
	if [[ -e $PENDING ]]; then
		from=$(cat "$PENDING/from")
		say "the last deployment was cut short; this one begins where it began (${from:-nothing installed})"
		restart=yes
	fi
	gather "$work/new/deploy/$NAME.env"
	if [[ -n $from ]] && runs "$from"; then was_ready=yes; fi
	store
	account
	begin "$from"
	keep_foreign
	changed=''
	settings "$work/new/deploy/$NAME.env"
	examine "$VERSIONS/$version/$NAME" || { undo "$from"; finish; die "the settings are wrong (see above), and nothing was started: correct them with --set NAME=VALUE or in $ENV_FILE"; }
	if [[ -n $from && $from != "$version" ]]; then before=$from; fi
	activate "$version"
	if [[ -z $changed && -z $restart ]] && runs "$version"; then
		finish
		say "$version is installed and ready; nothing to do"
		return
	fi
	if start; then
		[[ -z $before ]] || point previous "$before"
		finish
		prune
		[[ -n $dry_run ]] || say "$version is ready: $(show StatusText)"
		return
	fi
	warn "$version is $why"
	tail_of_log
	# There is nothing to go back to but a version, or settings with which this one was ready.
	if [[ -z $from ]] || { [[ $from == "$version" ]] && { [[ -z $was_ready ]] || cmp -s "$PENDING/env" "$ENV_FILE"; }; }; then
		finish
		if [[ $(show ActiveState) == failed ]]; then die "no other version is here that could take its place; correct what the log names and run this again"; fi
		warn "it goes on trying: systemctl status $NAME shows what it waits for, and $BASE/current/deploy/deploy-ec2.sh --run doctor what is missing"
		exit 3
	fi
	go_back "$from"
	exit 1
}

# undo FROM: settings and links as before the change.
undo() {
	[[ -z $dry_run ]] || return 0
	if [[ -f $PENDING/env ]]; then
		cp -p "$PENDING/env" "$ENV_FILE.new"
		mv -f "$ENV_FILE.new" "$ENV_FILE"
	fi
	if [[ -n $1 ]]; then activate "$1"; fi
}

# go_back VERSION: undo, and run it. Not for conditions, where a step that fails would not
# end the script; $back says whether it is ready. The change is over only once the version starts: killed before that,
# the next run sees that it was cut short.
go_back() {
	local version=$1
	warn "going back to $version, with the settings of before"
	undo "$version"
	if [[ -n $dry_run ]]; then
		echo "would start it"
		back=yes
		return
	fi
	if start; then
		back=yes
		finish
		warn "$version runs again and is ready; what was asked for is not in place. Correct what the log names, and run this again"
	else
		finish
		warn "$version is not ready either ($why), so it is not the change's fault: see $BASE/current/deploy/deploy-ec2.sh --run doctor"
	fi
	prune
}

prune() {
	local v keep
	[[ -d $VERSIONS ]] || return 0
	keep=" $(linked current) $(linked previous) "
	for v in "$VERSIONS"/* "$VERSIONS"/.new; do
		[[ ! -e $v || $keep == *" ${v##*/} "* ]] || run rm -rf "$v"
	done
}

rollback() {
	local from to why='' back=''
	from=$(linked current) to=$(linked previous)
	if [[ -e $PENDING ]]; then # the version before is the one that the change began with
		to=$(cat "$PENDING/from")
		[[ -n $to ]] || die "the first installation was cut short, and nothing was there before it: install again, or --uninstall"
		say "the last deployment was cut short"
		go_back "$to"
		[[ -n $back ]] || exit 1
		return
	fi
	[[ -n $from ]] || die "nothing is installed that could be rolled back"
	[[ -n $to && -x $VERSIONS/$to/$NAME ]] || die "there is no version before $from on this instance; install the one that you want by its file"
	begin "$from"
	say "going back from $from to $to"
	activate "$to"
	if start; then
		point previous "$from"
		finish
		[[ -n $dry_run ]] || say "$to is ready"
		return
	fi
	warn "$to is $why"
	tail_of_log
	go_back "$from"
	exit 1
}

# empty DIR...: remove those that hold nothing any more.
empty() {
	local dir
	for dir in "$@"; do
		[[ ! -d $dir ]] || run rmdir --ignore-fail-on-non-empty "$dir" || true # a mount point stays
	done
}

uninstall() {
	local what
	if [[ -e $UNIT_FILE ]]; then
		run systemctl disable --quiet "$UNIT" || true
		run systemctl stop "$UNIT" || true
	fi
	if [[ -e $AGENT_CONFIG ]]; then
		run rm -f "$AGENT_CONFIG"
		if [[ -x $AGENT/bin/amazon-cloudwatch-agent-ctl ]]; then
			run "$AGENT/bin/amazon-cloudwatch-agent-ctl" -a remove-config -m ec2 -s -c "file:$AGENT_CONFIG" >/dev/null || true
		fi
	fi
	for what in "$UNIT_FILE" "$DROP_IN" "$COMMAND" "$BASE"; do
		[[ ! -e $what && ! -L $what ]] || run rm -rf "$what"
	done
	empty "$(dirname "$DROP_IN")" "$(dirname "$BASE")"
	[[ -z $changed ]] || run systemctl daemon-reload
	if [[ -z $purge ]]; then
		say "removed; $ENV_FILE, $STATE (with dead letters) and $LOGS are kept. --uninstall --purge removes them too"
		return
	fi
	for what in "$ENV_FILE" "$STATE" "$LOGS"; do
		[[ ! -e $what ]] || run rm -rf "$what"
	done
	empty "$(dirname "$ENV_FILE")"
	if getent passwd "$NAME" >/dev/null; then run userdel "$NAME"; fi
	say "removed, with settings, state, logs and user"
}

# ended is what is done last, however it ends.
# shellcheck disable=SC2317 # the trap calls it
ended() {
	local status=$?
	rm -rf "$work"
	[[ -z $under_way || $status == 0 ]] || warn "cut short (status $status) in the middle of the change; what is above says why. Run this again: it goes on from there, and --rollback goes back"
}

main() {
	options "$@"
	as_root "$@"
	umask 022
	command -v systemctl >/dev/null || die "this system has no systemd; in a container, start $NAME itself"
	if [[ $action == run ]]; then
		run_verb
		return
	fi
	one_at_a_time
	trap ended EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	workplace
	# Version 1 of the AWS CLI, which Debian and Ubuntu may have, knows only this name of it.
	[[ -z ${AWS_REGION:-} || -n ${AWS_DEFAULT_REGION:-} ]] || export AWS_DEFAULT_REGION=$AWS_REGION
	refuse_package
	case $action in
	install) install_version ;;
	rollback) rollback ;;
	uninstall) uninstall ;;
	esac
}

main "$@"; exit
