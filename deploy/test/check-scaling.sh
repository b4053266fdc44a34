#!/usr/bin/env bash
# The template's scaling policies, on the metrics of real workers that load from the
# local AWS: the group grows by lag and shrinks by idling.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
echo "check-scaling: the policies of the template"
"$repo/scripts/need-cc"

scales() { (cd "$repo" && CGO_ENABLED=1 timeout 400 "${GO:-go}" test -tags deploy -race -count=1 -timeout 6m -v ./cmd/analytics-worker -run '^TestTheGroupScales$'); }
if scales >"$work/scaling" 2>&1; then
	sed -nE 's/^ +(scaling|instance|fleet)_test\.go:[0-9]+: /        /p' "$work/scaling"
	ok "the lag starts a worker, the idle group ends one through the hook, and nothing is lost"
else
	tail -n 60 "$work/scaling"
	bad "the group does not scale as the policies say"
fi
finish
