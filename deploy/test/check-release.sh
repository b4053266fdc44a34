#!/usr/bin/env bash
# Two clones of what is committed, in two folders and in unlike surroundings, release
# the same bytes; and a release is what it says.
set -euo pipefail
# shellcheck source=deploy/test/lib.sh
. "$(dirname "$0")/lib.sh"
echo "check-release: two clones release the same bytes"

name=analytics-worker
release_tools
[[ -z $(git -C "$repo" status --porcelain) ]] || echo "  note  what is not committed is not looked at"

# clone FOLDER OPTION...: of HEAD, with the tools that are built.
clone() {
	git -c advice.detachedHead=false clone -q --no-tags "${@:2}" "file://$repo" "$1"
	mkdir "$1/.tools"
	cp -a "$repo/.tools/release" "$1/.tools/"
	touch "$1/.tools/release/ready"
}
one=$work/one
other=$work/in/a/folder/far/down
clone "$one"
# A shallow clone has so few objects that git shortens names of commits otherwise.
clone "$other" --depth 1
expect "it is released from a clone without tags" make -s -C "$one" release
elsewhere() (umask 077 && TZ=Pacific/Auckland LANG=de_DE.UTF-8 GOAMD64=v3 GOMAXPROCS=1 make -s -C "$other" release)
expect "and in another folder, time zone, language, umask" elsewhere
same() { diff "$one/dist/SHA256SUMS" "$other/dist/SHA256SUMS"; }
expect "all bytes are the same" same
sums() (cd "$one/dist" && sha256sum --quiet -c SHA256SUMS && [[ $(wc -l <SHA256SUMS) == $(($(find . -type f | wc -l) - 1)) ]])
expect "SHA256SUMS has every file, and holds" sums

version=$(git -C "$one" rev-parse --short=12 HEAD)
complete() {
	local file dist=$one/dist
	for file in "$dist/${name}_${version}"_linux_{amd64,arm64}.tar.gz "$dist/$name"_*_{amd64,arm64}.deb "$dist/$name"-*.{x86_64,aarch64}.rpm \
		"$dist/${name}_${version}_sbom.cdx.json" "$dist/RELEASE_NOTES.md"; do
		[[ -s $file ]] || { echo "$file is not there"; return 1; }
	done
}
expect "it is complete, and named by the commit" complete

# ---- what is in the tarballs ------------------------------------------------------

for arch in amd64 arm64; do tar -xzf "$one/dist/${name}_${version}_linux_$arch.tar.gz" -C "$work"; done
built_as() { # ARCH MACHINE: the processor in the ELF header, and how it was built
	local binary=$work/${name}_${version}_linux_$1/$name said
	[[ $(od -An -tx1 -j18 -N2 "$binary") == " $2" ]] || return
	said=$(go version -m "$binary")
	[[ $said == *CGO_ENABLED=0* && $said == *-trimpath=true* ]] || { echo "$said"; return 1; }
	if LC_ALL=C grep -qaF -e "$one" -e "${HOME:?}/go/" "$binary"; then echo "it names folders of this machine"; return 1; fi
	if LC_ALL=C grep -qaE '/lib[0-9]*/ld-linux' "$binary"; then echo "it is linked dynamically"; return 1; fi
}
expect "amd64: a static binary for that, with no path of this machine in it" built_as amd64 '3e 00'
expect "arm64: a static binary for that, with no path of this machine in it" built_as arm64 'b7 00'
top=$work/${name}_${version}_linux_amd64
stamped() { [[ $(uname -m) != x86_64 || $("$top/$name" version) == "$name $version "* ]]; }
expect "it says its version" stamped
beside() {
	local file
	for file in LICENSE CHANGELOG.md licenses/LINKED.txt deploy/deploy-ec2.sh deploy/systemd/$name.service deploy/$name.env deploy/cloudwatch-agent.json; do
		[[ -s $top/$file ]] || { echo "$file is not there"; return 1; }
	done
	[[ -x $top/deploy/deploy-ec2.sh && ! -e $top/deploy/test && ! -e $top/deploy/package ]]
}
expect "with what deploy-ec2.sh needs" beside

# Three that ask three sources: the binary, the licences, the SBOM.
modules() {
	go version -m "$top/$name" | awk '$1 == "dep" { print $2, $3 }' | LC_ALL=C sort >"$work/linked"
	[[ -s $work/linked ]] || return
	awk '$1 != "std" { print $1, $2 }' "$top/licenses/LINKED.txt" | LC_ALL=C sort | diff "$work/linked" - || return
	sed -n 's,^ *"purl": "pkg:golang/\([^@]*\)@\([^"?#]*\).*,\1 \2,p' "$one/dist/${name}_${version}_sbom.cdx.json" |
		grep -v -e '^std ' -e '^github.com/cloudcafe/analytics-worker ' | sed 's/%2B/+/g' | LC_ALL=C sort | diff "$work/linked" -
}
expect "licences and SBOM name each module that is linked, and no other" modules
timeless() { ! grep -E '"(serialNumber|timestamp)"' "$one/dist/${name}_${version}_sbom.cdx.json"; }
expect "the SBOM has no time and no number of its own" timeless

# ---- what is refused --------------------------------------------------------------

texts() {
	local licenses=$repo/scripts/licenses
	printf 'Permission is hereby granted, free of\n  charge, to any person obtaining a copy' >"$work/text"
	[[ $("$licenses" --name "$work/text") == MIT ]] || return
	[[ $("$licenses" --name "$repo/LICENSE") == MIT ]] || return
	echo 'with the exception of the Commons Clause' >>"$work/text"
	[[ -z $("$licenses" --name "$work/text") ]] || return
	printf 'GNU AFFERO\nGENERAL PUBLIC LICENSE' >"$work/text"
	[[ -z $("$licenses" --name "$work/text") ]] || return
	echo 'You may do as you please.' >"$work/text"
	[[ -z $("$licenses" --name "$work/text") ]]
}
expect "licences that nobody has agreed to are not taken" texts
unlicensed() {
	local said
	cp -R "$(cd "$one" && go list -m -f '{{.Dir}}' golang.org/x/time)" "$one/time"
	chmod -R u+w "$one/time"
	rm "$one/time/LICENSE"
	(cd "$one" && go mod edit -replace golang.org/x/time=./time)
	if said=$(cd "$one" && scripts/licenses "$work/none" 2>&1); then return 1; fi
	[[ $said == *"golang.org/x/time "*"no licence file"* ]]
}
expect "a module without a licence is not released" unlicensed
git -C "$one" checkout -q go.mod

dirty() { echo >>"$one/README.md" && [[ $(make -n -C "$one" release) == *"VERSION='$version-dirty'"* ]]; }
expect "a tree with changes says so" dirty
git -C "$one" checkout -q README.md
noteless() {
	local said
	git -C "$one" tag v99.0.0
	if said=$(make -s -C "$one" release 2>&1); then return 1; fi
	[[ $said == *'nothing under [99.0.0]'* ]]
}
expect "a release that the changelog does not know is refused" noteless
ordered() { # as dpkg orders them
	local before='' of now
	for of in 0123456789ab v1.2.3-rc.1 v1.2.3-rc.1-4-gabcdef v1.2.3 v1.2.3-4-gabcdef v1.2.3-12-gabcdef v1.2.4; do
		now=$(VERSION=$of "$repo/scripts/release" --package-version)
		[[ -z $before ]] || dpkg --compare-versions "$before" lt "$now" || { echo "$now is not after $before"; return 1; }
		before=$now
	done
}
if command -v dpkg >/dev/null; then expect "packages of later versions are later" ordered; fi
finish
