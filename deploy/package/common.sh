#!/bin/sh
# The beginning of every maintainer script of the deb and of the rpm: scripts/release
# puts it in front of each. POSIX sh, as that is what dpkg and rpm run.
#
# The packages own $home/package and no version in $home/versions. What is configured
# is a copy of it there (hard links: no room is taken twice), so that the program that
# runs stays whole while the next one is unpacked, the switch is one rename, and the
# version before is there to go back to. deploy-ec2.sh keeps the same layout.
set -eu

name=analytics-worker
unit=analytics-worker.service
home=/opt/cloudcafe/analytics-worker
config=/etc/cloudcafe/analytics-worker.env
state=/var/lib/analytics-worker

say() { echo "$name: $*"; }
warn() { echo "$name: $*" >&2; }

# A chroot or a container has no systemd to tell, and needs none.
systemd_runs() { [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; }

# refuse_script is the counterpart of what deploy-ec2.sh says where a package is.
refuse_script() {
	[ -f "/etc/systemd/system/$unit" ] && [ ! -L "/etc/systemd/system/$unit" ] || return 0
	warn "deploy-ec2.sh, or somebody by hand, has installed /etc/systemd/system/$unit, which would go before the package's. Upgrade by deploy-ec2.sh, or remove that first (deploy-ec2.sh --uninstall keeps the settings). Nothing was installed"
	return 1
}

create_user() {
	getent group "$name" >/dev/null || groupadd --system "$name" || {
		warn "cannot create the group $name: is /etc writable? Nothing was installed"
		return 1
	}
	getent passwd "$name" >/dev/null || useradd --system --gid "$name" --home-dir "$state" --no-create-home \
		--shell /usr/sbin/nologin --comment "analytics-worker" "$name" || {
		warn "cannot create the user $name: is /etc writable? Nothing was installed"
		return 1
	}
	# A user who was there before may have another group.
	id -nG "$name" | tr ' ' '\n' | grep -qx "$name" || usermod --append --groups "$name" "$name"
}

# replace_link NAME TARGET: readers see the old target or the new one, never none.
replace_link() {
	rm -f "$home/.$1.new"
	ln -s "$2" "$home/.$1.new"
	mv -Tf "$home/.$1.new" "$home/$1"
}

# place_version copies what was unpacked to where it runs, and switches to it.
place_version() {
	version=$(cat "$home/package/.package")
	to=$home/versions/$version
	new=$home/versions/.$version.new
	mkdir -p "$home/versions"
	rm -rf "$new"
	cp -al "$home/package" "$new" 2>/dev/null || { rm -rf "$new"; cp -a "$home/package" "$new"; }
	if [ -d "$to" ]; then # installed again: the program may be running
		mv -f "$new/$name" "$to/$name"
		cp -a "$new/." "$to/"
		rm -rf "$new"
	else
		mv -T "$new" "$to"
	fi
	sync -f "$to/$name" # before anything names it

	before=$(readlink "$home/current" || :)
	if [ "$before" != "versions/$version" ]; then
		if [ -n "$before" ] && [ -d "$home/$before" ]; then replace_link previous "$before"; fi
		replace_link current "versions/$version"
	fi
	remove_versions other
}

# remove_versions all|other: delete versions that came from a package, all of them or
# those that neither current nor previous names. What deploy-ec2.sh installed stays.
remove_versions() {
	for dir in "$home"/versions/*; do
		[ -e "$dir/.package" ] || continue
		link=versions/${dir##*/}
		if [ "$1" = other ]; then
			if [ "$(readlink "$home/current" || :)" = "$link" ] || [ "$(readlink "$home/previous" || :)" = "$link" ]; then continue; fi
		fi
		rm -rf "$dir"
	done
	for link in current previous; do
		if [ -L "$home/$link" ] && [ ! -e "$home/$link" ]; then rm -f "$home/$link"; fi
	done
}

create_state() { [ -d "$state" ] || install -d -m 0750 -o "$name" -g "$name" "$state"; }

# start_again restarts a worker that runs, and says what to do for one that does not.
start_again() {
	if systemd_runs; then
		systemctl daemon-reload || warn "systemctl daemon-reload failed: the unit may still be the one before"
		if ! systemctl is-enabled --quiet "$unit" 2>/dev/null && ! systemctl is-active --quiet "$unit" 2>/dev/null; then
			say_what_next
		else
			systemctl try-restart "$unit" || warn "$version is installed, but does not start. Why: journalctl -u $name -n 50. Back: install the package of the version before, which is also in $home/previous"
		fi
	else
		say_what_next
	fi
}

say_what_next() {
	cat <<-EOF
		$name $version is installed. It was not started. What is next:
		  1. its settings:  edit $config
		  2. check them:    systemd-run --quiet --pipe --wait --uid=$name -p EnvironmentFile=$config -p WorkingDirectory=$state $name doctor
		  3. start it:      systemctl enable --now $name
	EOF
}

stop_for_good() {
	if systemd_runs; then
		systemctl stop "$unit" || warn "the worker could not be stopped: systemctl status $name"
	fi
	if command -v systemctl >/dev/null 2>&1; then
		systemctl disable --quiet "$unit" >/dev/null 2>&1 || :
	fi
}

# remove_program takes away what place_version made.
remove_program() {
	remove_versions all
	rmdir "$home/versions" "$home" /opt/cloudcafe 2>/dev/null || :
	if [ -L "$home/current" ]; then
		say "$home/current stays: it is $(readlink "$home/current"), which came from no package"
	fi
	if systemd_runs; then systemctl daemon-reload || :; fi
}
