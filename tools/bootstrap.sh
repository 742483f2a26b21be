# shellcheck shell=bash
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

# Packages and virtual environment; sourced by quickstart.sh and test.sh.
# Expects: set -euo pipefail, and REPOSITORY, the checkout's folder.

BOOTSTRAP_BEGAN=$EPOCHREALTIME

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# say TEXT: a line with the seconds since the start
say() {
    awk -v a="$BOOTSTRAP_BEGAN" -v b="$EPOCHREALTIME" -v t="$*" \
        'BEGIN { printf "[%6.1fs] %s\n", b - a, t }' >&2
}

require_root() {
    [[ $EUID -eq 0 ]] ||
        die "root is needed, for network namespaces and mounts: run it as" \
            "root or with sudo."
}

# require_place FOLDER REMEDY: die unless files can be written to FOLDER, or
# to where it will be made, and programs in it can be run.
require_place() {
    local folder=$1 probe
    while [[ ! -d $folder ]]; do
        folder=$(dirname "$folder")
    done
    probe=$(mktemp "$folder/.kata-probe.XXXXXX" 2>/dev/null) ||
        die "no file can be written to $folder: make it writable, or $2."
    printf '#!/bin/sh\n' >"$probe"
    chmod 700 "$probe"
    if ! "$probe" 2>/dev/null; then
        rm -f "$probe"
        die "no program can be run in $folder, because it is mounted" \
            "noexec: $2."
    fi
    rm -f "$probe"
}

# packages_for RELEASE PROFILE...: print the packages that bindep.txt lists
# for a release, such as debian-bookworm, for all and for these profiles.
packages_for() {
    awk -v wanted=" platform:dpkg platform:$* " '/^[a-z0-9]/ {
        gsub(/[][]/, "")
        for (i = 2; i <= NF; i++) {
            not = sub(/^!/, "", $i)
            if (!index(wanted, " " $i " ") != not)
                next
        }
        print $1
    }' "$REPOSITORY/bindep.txt"
}

missing_packages() {
    local name state release
    release=$(. /etc/os-release && echo "$ID-${VERSION_CODENAME:-}")
    for name in $(packages_for "$release" "$@"); do
        state=$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null) ||
            state=
        [[ $state == installed ]] || echo "$name"
    done
}

# install_packages LOG PROFILE...: install what bindep.txt lists. No service
# of these packages is started: the stack runs its own, on its own ports.
install_packages() {
    local missing log=$1 policy=/usr/sbin/policy-rc.d
    shift
    command -v apt-get >/dev/null ||
        die "apt-get is missing: this needs Debian 12 or 13." \
            "bindep.txt lists the packages."
    mapfile -t missing < <(missing_packages "$@")
    [[ ${#missing[@]} -gt 0 ]] || return 0
    say "installing ${#missing[@]} packages: ${missing[*]}"
    (
        if [[ ! -e $policy ]]; then
            trap 'rm -f "$policy"' EXIT
            printf '#!/bin/sh\nexit 101\n' >"$policy"
            chmod 755 "$policy"
        fi
        export DEBIAN_FRONTEND=noninteractive
        apt-get update &&
            apt-get install --yes --no-install-recommends \
                -o Dpkg::Options::=--force-confold "${missing[@]}"
    ) >"$log" 2>&1 ||
        die "packages could not be installed:" $'\n'"$(tail -n 15 "$log")" \
            $'\n'"The whole log: $log"
    if [[ -d /run/systemd/system ]]; then
        say "note: the machine's own units of these packages were not" \
            "started, but may start at the next boot (systemctl disable)."
    fi
}

# fetch_kernel FOLDER LOG: print the path of the guest's kernel package,
# downloaded into FOLDER unless it is there. It is never installed.
fetch_kernel() {
    local folder=$1 log=$2 deb package attempt
    if [[ -n ${KATA_TEST_KERNEL_DEB:-} ]]; then
        echo "$KATA_TEST_KERNEL_DEB"
        return
    fi
    mkdir -p "$folder"
    for attempt in 1 2 3; do
        deb=$(find "$folder" -name 'linux-image-*.deb' | sort -V | tail -n 1)
        if [[ -n $deb ]]; then
            echo "$deb"
            return
        fi
        # a name server may be out of breath, or apt may never have looked
        [[ $attempt -eq 1 ]] || { sleep 3; apt-get update; } >>"$log" 2>&1
        package=$(apt-cache depends --important \
            "linux-image-cloud-$(dpkg --print-architecture)" 2>>"$log" |
            sed -n 's/.*Depends: \(linux-image-.*\)/\1/p' | head -n 1)
        (cd "$folder" && apt-get download "$package") >>"$log" 2>&1 || true
    done
    die "the guest's kernel package could not be downloaded:" \
        $'\n'"$(tail -n 5 "$log")"
}

DEBIAN_KEYS=/usr/share/keyrings/debian-archive-keyring.gpg

# Print the address of the mirror from which apt gets this machine's Debian.
debian_mirror() {
    local codename mirror attempt
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    for attempt in 1 2; do
        # apt may never have looked
        [[ $attempt -eq 1 ]] || apt-get update >&2
        # shellcheck disable=SC2016
        mirror=$(apt-get indextargets --format '$(REPO_URI)' \
            'Created-By: Packages' 'Origin: Debian' "Codename: $codename" |
            head -n 1)
        [[ -z $mirror ]] || break
    done
    echo "$mirror"
}

# fetch_containerd SUITE FOLDER LOG: print the folder with the programs of the
# containerd of another Debian suite, unpacked below FOLDER, not installed.
# Fails if it can't be had from the machine's own mirror, or doesn't run here.
fetch_containerd() {
    local suite=$1 folder=$2/$1 log=$3 apt
    if [[ ! -d $folder ]]; then
        apt=$(mktemp -d)
        mkdir -p "$apt/lists/partial" "$apt/root"
        echo "deb [signed-by=$DEBIAN_KEYS] $(debian_mirror) $suite main" \
            >"$apt/sources.list"
        if ! (
            # nothing of this reaches the machine's own apt
            options=(-o Dir::Etc::SourceList="$apt/sources.list"
                -o Dir::Etc::SourceParts=- -o Dir::State="$apt"
                -o Dir::State::status=/dev/null -o Dir::Cache="$apt"
                -o APT::Sandbox::User=root)
            cd "$apt" && apt-get "${options[@]}" update &&
                apt-get "${options[@]}" download containerd &&
                dpkg-deb -x containerd_*.deb root &&
                root/usr/bin/containerd --version &&
                mkdir -p "${folder%/*}" && mv root "$folder"
        ) >>"$log" 2>&1; then
            rm -rf "$apt"
            return 1
        fi
        rm -rf "$apt"
    fi
    echo "$folder/usr/bin"
}

# Print a Python of at least 3.11 that has the modules that are named.
any_python() {
    local python
    for python in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
        if "$python" -c 'import importlib, sys
[importlib.import_module(name) for name in sys.argv[1:]]
sys.exit(sys.version_info < (3, 11))' "$@" 2>/dev/null; then
            command -v "$python"
            return
        fi
    done
    die "Python 3.11 or newer is needed, with venv: apt-get install python3" \
        "python3-venv (Debian 12 or newer)."
}

# install_venv FOLDER LOG REQUIREMENTS...: skipped when nothing changed
install_venv() {
    local venv=$1 log=$2 python stamp
    shift 2
    local -a requirements
    local file
    for file; do
        requirements+=(-r "$file")
    done
    stamp=$(cd "$REPOSITORY" &&
        cat setup.cfg tools/quickstart/constraints.txt "$@" |
        sha256sum | cut -c 1-64)
    if [[ $(cat "$venv/stamp" 2>/dev/null) == "$stamp $REPOSITORY" ]]; then
        return
    fi
    python=$(any_python venv ensurepip)
    say "installing OpenStack into $venv with $("$python" --version)"
    # A checkout without git history has no version that pbr could find.
    if ! git -C "$REPOSITORY" rev-parse HEAD >/dev/null 2>&1; then
        export PBR_VERSION=0.0.1
    fi
    (
        cd "$REPOSITORY"
        unset PYTHONDONTWRITEBYTECODE
        # pip would write it at the first start, and that is too late: the
        # services start side by side, and each would compile the same.
        export UV_COMPILE_BYTECODE=1 UV_SYSTEM_CERTS=1
        export UV_HTTP_TIMEOUT=180 UV_LINK_MODE=copy
        [[ -x $venv/bin/python ]] || "$python" -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet uv
        "$venv/bin/uv" pip install --python "$venv/bin/python" \
            -c tools/quickstart/constraints.txt "${requirements[@]}" \
            --editable .
    ) >"$log" 2>&1 ||
        die "the virtual environment could not be made:" \
            $'\n'"$(tail -n 15 "$log")" $'\n'"The whole log: $log"
    echo "$stamp $REPOSITORY" >"$venv/stamp"
}

# forget_guest STATE: remove what tests and benchmarks prepared there, and
# the templates in memory that belong to it
forget_guest() {
    local memory=$1/run/embedded/memory
    if mountpoint -q "$memory"; then
        umount "$memory"
    fi
    rm -rf "$1"
}
