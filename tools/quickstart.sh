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

# A local OpenStack whose Zun containers run in VMs, in one folder.

set -euo pipefail

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tools/bootstrap.sh
source "$REPOSITORY/tools/bootstrap.sh"

usage() {
    cat <<'END'
usage: quickstart.sh [--state-dir DIR] [--port-base N] [COMMAND]

Without a command: installs missing packages, starts a local OpenStack with
Zun, and proves that its containers are VMs. Run it again at any time; it
leaves running services alone.

  prepare          only the steps that need the network: packages, the
                   virtual environment, the guest's kernel
  up [--no-proof]  the default
  status           show services and containers
  env              print credentials: eval "$(./tools/quickstart.sh env)"
  start SERVICE    start a service and those that it needs
  restart SERVICE  stop a service, and start it again
  stop             stop containers and services; containers can be started
                   again after the next "up", capsules are deleted
  clean            stop, and remove the folder

  --state-dir DIR  the folder for everything (/var/lib/kata-openstack-dev)
  --port-base N    first of 13 ports on loopback (21500)
END
}

state=/var/lib/kata-openstack-dev
options=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --state-dir) state=${2:?--state-dir wants a folder}; shift 2 ;;
        --state-dir=*) state=${1#*=}; shift ;;
        --port-base) options+=(--port-base "${2:?--port-base wants a number}")
            shift 2 ;;
        --port-base=*) options+=("$1"); shift ;;
        -h | --help | help) usage; exit ;;
        -*) usage >&2; exit 2 ;;
        *) break ;;
    esac
done
command=${1:-up}
state=$(realpath -m -- "$state")

case $command in
    up | prepare | status | env | start | restart | stop | clean) ;;
    *) usage >&2; exit 2 ;;
esac
require_root

# What "clean" removes must be ours.
marker=.kata-openstack
# An existing virtual environment to use instead; for tests and development.
named_venv=${KATA_QUICKSTART_VENV:-}
venv=$state/venv
case $command in
    up | prepare | start | restart)
        if [[ -n $(ls -A "$state" 2>/dev/null) && ! -e $state/$marker ]]; then
            die "$state holds something else: give an empty or a new folder" \
                "with --state-dir."
        fi
        python=$(any_python)
        PYTHONPATH=$REPOSITORY "$python" -m tools.quickstart.preflight \
            --path --state-dir "$state"
        require_place "$state" "use --state-dir elsewhere"
        mkdir -p "$state/logs"
        touch "$state/$marker"
        # A link, so that a later "stop" or "clean" finds the environment
        # without the variable. Its path has no space, at which Neutron would
        # split the path of its database migrations.
        if [[ -L $venv || ! -e $venv ]]; then
            if [[ -n $named_venv ]]; then
                ln -sfn "$named_venv" "$venv"
            elif [[ $command == up || $command == prepare ]]; then
                rm -f "$venv"
            fi
        elif [[ -n $named_venv ]]; then
            venv=$named_venv
        fi
        free=$(df --output=avail -BM "$state" | tail -n 1 | tr -dc 0-9)
        [[ -x $venv/bin/openstack ]] || [[ $free -ge 4096 ]] ||
            die "$state has $free MiB free, 4096 are needed: free some, or" \
                "use --state-dir elsewhere."
        if [[ $command == up ]]; then
            PYTHONPATH=$REPOSITORY "$python" -m tools.quickstart.preflight \
                --state-dir "$state" "${options[@]}"
        fi
        install_packages "$state/logs/packages.log" quickstart
        KATA_QUICKSTART_KERNEL=$(fetch_kernel "$state/data/kernel" \
            "$state/logs/packages.log")
        export KATA_QUICKSTART_KERNEL
        if [[ -z $named_venv ]]; then
            install_venv "$venv" "$state/logs/venv.log" \
                tools/quickstart/requirements.txt
        fi
        ;;
    *)
        if [[ ! -x $venv/bin/python || ! -e $state/settings.json ]]; then
            if [[ $command == clean && -e $state/$marker ]]; then
                rm -rf "$state"
            fi
            [[ $command != stop && $command != clean ]] || exit 0
            die "there is no stack in $state: run ${BASH_SOURCE[0]} first."
        fi
        ;;
esac
# as the user would have to type it again
QUICKSTART_COMMAND=$(printf %q "$0")
if [[ $state != /var/lib/kata-openstack-dev ]]; then
    QUICKSTART_COMMAND+=" --state-dir $state"
fi
export QUICKSTART_COMMAND
export QUICKSTART_BEGAN=$BOOTSTRAP_BEGAN PYTHONPATH=$REPOSITORY
export PYTHONWARNINGS=ignore
exec "$venv/bin/python" -m tools.quickstart --state-dir "$state" \
    "${options[@]}" "$command" "${@:2}"
