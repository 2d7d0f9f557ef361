#!/usr/bin/env bash
# Installs tfopt and runs its demo. Arguments go to `tfopt demo`.
. "$(dirname "$0")/setup.sh" demo
exec .venv/bin/tfopt demo "$@"
