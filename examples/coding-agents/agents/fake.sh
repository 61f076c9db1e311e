#!/bin/sh
# Be a made-up coding agent: `fake.sh TOOL PLAYS FLAGS...` takes the real tool's flags and does what PLAYS says.
tool=$1 plays=$2
shift 2
exec python3 -m orchestration.testing.cli_agents "$tool" --script "$(dirname "$0")/$plays" "$@"
