#!/usr/bin/env bash
# Installs tfopt with all that its tests need and runs them. Arguments go to pytest.
. "$(dirname "$0")/setup.sh" test
exec .venv/bin/python -m pytest "$@"
