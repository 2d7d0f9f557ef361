#!/usr/bin/env bash
# Installs tfopt with all that its tests need, checks its floors and types, and runs the tests. Arguments go to pytest;
# `--slow` as the first one runs the long tails instead of the other tests.
. "$(dirname "$0")/setup.sh" test
.venv/bin/lint-imports
.venv/bin/mypy
marked=(-m "not slow")
if [ "${1-}" = --slow ]; then
    marked=(-m slow)
    shift
fi
exec .venv/bin/python -m pytest "${marked[@]}" "$@"
