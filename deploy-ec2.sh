#!/usr/bin/env bash
# Install or upgrade the analytics worker on this instance; see --help.
exec bash "$(dirname "$(readlink -f "$0")")/deploy/deploy-ec2.sh" "$@"
