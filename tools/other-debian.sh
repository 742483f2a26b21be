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

# Proves that everything works on the other one of Debian 12 and 13: in a root
# of that release, with mounts, processes and a network of its own.

set -euo pipefail

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tools/bootstrap.sh
source "$REPOSITORY/tools/bootstrap.sh"

usage() {
    cat <<'END'
usage: other-debian.sh [COMMAND]

Without a command: runs the quickstart and the core of the functional tests in
a root of the other Debian release: on Debian 12 that is 13, on 13 it is 12.
The last line is "N passed, N failed, N skipped".

  test [REGEX]       the default; REGEX picks other functional tests
  prepare            only make the root, with a Python environment in it; this
                     needs the network, and the tests do not
  run PROGRAM ...    run a program in the root, in a copy of this checkout
  clean              remove the root

The root is kept in /var/cache/kata-openstack for the next run.
END
}

CACHE=/var/cache/kata-openstack
# where the root has its copy of the checkout
COPY=/srv/kata-openstack
# What the programs of a release decide: containerd's configuration, the
# canary (which looks for stale machine code), containers and their processes
# (the guest's kernel, crun), files (virtiofsd), and the confinement of QEMU.
CORE='functional\.(node\.test_containerd|compute\.test_canaries.*it_runs|'
CORE+='embedded\.(test_containers\.(TestIsolation.*kernel|TestMounts|'
CORE+='TestProcesses.test_(output|exec|input|a_terminal))|'
CORE+='test_faults\.TestConfinement|test_live\.TestLive.test_the_host))'

other_suite() {
    case $(. /etc/os-release && echo "${VERSION_CODENAME:-}") in
        bookworm) echo trixie ;;
        trixie) echo bookworm ;;
        *) die "this machine has neither Debian 12 nor 13." ;;
    esac
}

# Begins a program with mounts and processes of its own, which end with it.
APART=(unshare --mount --pid --fork --kill-child --)

# apart PROGRAM...: run it so that it also ends when this script is killed
apart() {
    local status=0
    "${APART[@]}" "$@" &
    # a signal reaches neither bash while it waits nor unshare
    trap 'kill -KILL $!; exit 130' INT TERM
    wait $! || status=$?
    trap - INT TERM
    return "$status"
}

# make_root SUITE ROOT: install a small Debian with all packages into ROOT
make_root() {
    local suite=$1 root=$2 free log=$2.log conf=$2.apt
    [[ ! -d $root ]] || return 0
    free=$(df --output=avail -BM "$CACHE" | tail -n 1 | tr -dc 0-9)
    [[ $free -ge 4096 ]] ||
        die "$CACHE has $free MiB free, 4096 are needed: free some."
    say "making a root of Debian $suite in $root"
    rm -rf "$root.partial"
    # how this machine reaches its mirror
    apt-config dump | grep -E '^Acquire::(https?|Retries|Check-)' \
        >"$conf" || true
    apart mmdebstrap --mode=root --variant=minbase --format=directory \
        --aptopt="$conf" --dpkgopt=force-unsafe-io \
        --include="ca-certificates,$(packages_of "$suite" | paste -sd,)" \
        "$suite" "$root.partial" \
        "deb [signed-by=$DEBIAN_KEYS] $(debian_mirror) $suite main" \
        >"$log" 2>&1 ||
        die "the root could not be made:" $'\n'"$(tail -n 15 "$log")" \
            $'\n'"The whole log: $log"
    mv "$root.partial" "$root"
}

packages_of() {
    packages_for "debian-$1" quickstart test
}

# Print the files of the checkout, each with a null byte after it: what git
# knows or, without git's history, all that is not built here.
checkout_files() {
    # root may not be the owner of the checkout
    git -c safe.directory='*' ls-files -z --cached --others \
        --exclude-standard 2>/dev/null ||
        find . \( -name .venv -o -name .cache -o -name .stestr \) -prune -o \
            -type f -print0
}

# copy_checkout TARGET: copy the checkout; what was built in TARGET stays
copy_checkout() {
    local target=$1
    mkdir -p "$target"
    find "$target" -mindepth 1 -maxdepth 1 ! -name .venv ! -name .cache \
        -exec rm -rf {} +
    (cd "$REPOSITORY" && checkout_files) |
        tar -C "$REPOSITORY" --null --files-from=- --ignore-failed-read \
            -cf - 2>/dev/null | tar -C "$target" -xf -
}

# enter ROOT PROGRAM...: run a program in ROOT, in the copy of the checkout
enter() {
    local root=$1
    shift
    local file way=(apart)
    # a shell keeps the terminal
    [[ $command != run ]] || way=(exec "${APART[@]}")
    for file in resolv.conf hosts ssl/certs/ca-certificates.crt; do
        cp -L "/etc/$file" "$root/etc/$file"
    done
    rm -rf "$root/tmp" "$root/var/tmp"
    install -d -m 1777 "$root/tmp" "$root/var/tmp"
    # shellcheck disable=SC2016
    "${way[@]}" bash -euc '
        root=$1
        shift
        mount --bind "$root" "$root"
        cd "$root"
        mount -t proc proc proc
        mount --rbind /sys sys
        mount --rbind /dev dev
        # the shared memory and the terminals of others stay out of sight
        mount -t tmpfs -o mode=1777 shm dev/shm
        mount -t devpts -o newinstance,mode=0620,ptmxmode=0666 pts dev/pts
        mount -t tmpfs -o mode=755 run run
        pivot_root . mnt
        umount --lazy /mnt
        cd "$0"
        # paths of this machine
        unset TMPDIR VIRTUAL_ENV PYTHONPATH "${!KATA_@}"
        exec env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin \
            HOME=/root "$@"' "$COPY" "$root" "$@"
}

# What runs in the root.
inside() {
    local command=$1
    shift
    install_packages /tmp/packages.log quickstart test
    install_venv "$REPOSITORY/.venv" /tmp/venv.log requirements.txt \
        tools/quickstart/requirements.txt test-requirements.txt
    KATA_TEST_KERNEL_DEB=$(fetch_kernel "$REPOSITORY/.cache/kernel" \
        /tmp/kernel.log)
    [[ $command == test ]] || return 0
    trap 'exit 130' INT TERM
    trap './tools/quickstart.sh clean' EXIT
    ./tools/quickstart.sh clean  # what a killed run left
    export KATA_TEST_KERNEL_DEB KATA_TEST_VENV=$REPOSITORY/.venv
    export KATA_QUICKSTART_VENV=$REPOSITORY/.venv
    # shellcheck disable=SC2016
    unshare --net -- bash -euc 'ip link set lo up
        ./tools/quickstart.sh
        ./tools/quickstart.sh clean
        exec ./tools/test.sh functional "$0"' "${1:-$CORE}"
}

command=${1:-test}
[[ $# -eq 0 ]] || shift
case $command in
    inside) inside "$@"; exit ;;
    test | prepare | run | clean) ;;
    -h | --help | help) usage; exit ;;
    *) usage >&2; exit 2 ;;
esac
require_root
suite=$(other_suite)
root=$CACHE/$suite
mkdir -p "$CACHE"
exec 9>"$root.lock"
flock --nonblock 9 || { say "another run uses $root: waiting"; flock 9; }
if [[ $command == clean ]]; then
    rm -rf "$root" "$root.partial" "$root.log" "$root.apt"
    exit
fi
install_packages "$CACHE/packages.log" quickstart test distribution
make_root "$suite" "$root"
copy_checkout "$root$COPY"
if [[ $command == run ]]; then
    enter "$root" "$@"
else
    say "entering the root of Debian $suite"
    enter "$root" ./tools/other-debian.sh inside "$command" "$@"
fi
