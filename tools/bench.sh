#!/usr/bin/env bash
# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

# Runs a benchmark and prints a table; --json FILE also writes JSON.

set -euo pipefail

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tools/bootstrap.sh
source "$REPOSITORY/tools/bootstrap.sh"

usage() {
    cat <<'END'
usage: bench.sh host [-n ROUNDS] [--json FILE]
       bench.sh pod [-n ROUNDS] [--json FILE]
       bench.sh zun [--state-dir DIR] [-n ROUNDS] [--json FILE]

  host  host probe and handler selection
  pod   a pod of the embedded runtime, through containerd's CRI
  zun   a container, through the Zun API of tools/quickstart.sh. If the stack
        does not run, it is started first and stopped afterwards.
END
}

finish() {
    [[ -z $logs ]] || rm -rf "$logs"
    [[ -z $guest ]] || forget_guest "$guest"
    if [[ -n $started ]]; then
        "$REPOSITORY/tools/quickstart.sh" --state-dir "$state" stop
    fi
}

# Start the stack in $state unless it runs.
ensure_stack() {
    local quickstart=$REPOSITORY/tools/quickstart.sh
    [[ -x $state/venv/bin/python ]] || export KATA_QUICKSTART_VENV=$VENV
    if "$quickstart" --state-dir "$state" status >/dev/null 2>&1; then
        return
    fi
    started=yes
    "$quickstart" --state-dir "$state" up --no-proof
}

# KATA_TEST_VENV: an existing virtual environment, used without changes
VENV=${KATA_TEST_VENV:-$REPOSITORY/.venv}

case ${1:-help} in
    host | pod | zun) ;;
    *) usage; exit 2 ;;
esac
require_root
logs=
started=
guest=
trap finish EXIT
if [[ -z ${KATA_TEST_VENV:-} ]]; then
    logs=$(mktemp -d)
    install_packages "$logs/packages.log" quickstart
    install_venv "$VENV" "$logs/venv.log" requirements.txt \
        tools/quickstart/requirements.txt test-requirements.txt
fi
tool=$1
shift
if [[ $tool == zun ]]; then
    state=/var/lib/kata-openstack-dev
    arguments=()
    while [[ $# -gt 0 ]]; do
        case $1 in
            --state-dir) state=$2; shift 2 ;;
            --state-dir=*) state=${1#*=}; shift ;;
            *) arguments+=("$1"); shift ;;
        esac
    done
    ensure_stack
    set -- --state-dir "$state" "${arguments[@]}"
elif [[ $tool == pod && -z ${KATA_TEST_STATE:-} ]]; then
    guest=$(mktemp -d /var/tmp/kata-bench.XXXX)
    export KATA_TEST_STATE=$guest
fi
export PYTHONPATH=$REPOSITORY PYTHONWARNINGS=ignore
"$VENV/bin/python" -m "benchmarks.$tool" "$@"
