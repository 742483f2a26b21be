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

# Everything that CI runs, or one tier: unit, functional (real containerd),
# distribution (its core, and the quickstart, on the other Debian release), e2e
# (the real OpenStack of quickstart.sh, in a namespace of its own). CI does not
# run the tier long.
# The last line is "N passed, N failed, N skipped".

set -euo pipefail

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tools/bootstrap.sh
source "$REPOSITORY/tools/bootstrap.sh"

usage() {
    cat <<'END'
usage: test.sh [TIER] [REGEX]

  unit         style, types and unit tests
  functional   tests with a real containerd and real VMs
  distribution the quickstart and functional tests on the other Debian, 12 or 13
  e2e          tests with a real OpenStack
  long         functional tests with other releases of containerd, and tests
               that take minutes each

Without a tier: all but long. REGEX picks tests of a tier.
END
}

# KATA_TEST_VENV: an existing virtual environment to use instead
VENV=${KATA_TEST_VENV:-$REPOSITORY/.venv}
KATA_TEST_STATE=${KATA_TEST_STATE:-}
# A Unix socket's path has at most 107 bytes; the shim's is 34 below this.
MAX_STATE=73
PASSED=0 FAILED=0 SKIPPED=0
# KATA_TEST_SUITES: Debian's suites with other releases of containerd (1.6,
# 1.7, 2.1), and the tests of the tier long that run with those
read -ra OTHER_SUITES <<<"${KATA_TEST_SUITES-bookworm trixie forky}"
OTHER_CONTAINERDS='functional\.(node|compute\.(pods\.(test_lifecycle|.*redis)|'
OTHER_CONTAINERDS+='test_canaries|test_images)|'
OTHER_CONTAINERDS+='embedded\.test_faults\.(TestFaults|TestBroken))'

# count FILE: add what a stestr run printed last
count() {
    local passed failed skipped
    read -r passed failed skipped < <(awk '
        /^ - Passed: /             { p = $3 }
        /^ - Expected Fail: /      { x = $4 }
        /^ - Skipped: /            { s = $3 }
        /^ - Failed: /             { f = $3 }
        /^ - Unexpected Success: / { u = $4 }
        END { print p + x, f + u, s + 0 }' "$1")
    PASSED=$((PASSED + passed))
    FAILED=$((FAILED + failed))
    SKIPPED=$((SKIPPED + skipped))
}

# fail WORDS...: count one failure that no test can report
fail() {
    echo "FAILED: $*" | tee -a "$KATA_TEST_FAILURES"
    FAILED=$((FAILED + 1))
}

# failures FILE: keep for the end what a run printed about its failures. CI and
# people see the end first.
failures() {
    grep -E '\.\.\. FAILED$' "$1" >>"$KATA_TEST_FAILURES" || true
    awk '
        /^Failed [0-9]+ tests - output below:/ { shown = 1; next }
        /^======$/ { shown = 0 }
        shown && !/^=*$/' "$1" | tail -n 150 >>"$KATA_TEST_FAILURES"
}

# stestr_run TIER ARGUMENT...: run and count; a run that died counts as one
# failure, because no test could say so.
stestr_run() {
    local tier=$1 output status=0 before=$FAILED
    local python=python
    shift
    # by names without a path: stestr gives them to a shell, which would split
    # a path at a space
    [[ $tier != functional && $tier != long ]] || python='tools/test.sh worker'
    output=$(mktemp)
    (
        cd "$REPOSITORY"
        OS_TEST_PATH=./tests/$tier PATH=$VENV/bin:$PATH PYTHON=$python \
            "$VENV/bin/stestr" run "$@"
    ) 2>&1 | tee "$output" || status=$?
    count "$output"
    failures "$output"
    rm -f "$output"
    if [[ $status -ne 0 && $FAILED -eq $before ]]; then
        fail "stestr of tier $tier ended with $status"
    fi
}

# run_worker ARGUMENT...: run Python with a network, processes and mounts of
# its own, and the first folder of KATA_TEST_STATE that no other worker uses.
# What a killed test leaves ends with them.
run_worker() {
    local number=1
    mkdir -p "$KATA_TEST_STATE" /run/netns
    exec 9>"$KATA_TEST_STATE/$number.lock"
    while ! flock --nonblock 9; do
        number=$((number + 1))
        exec 9>"$KATA_TEST_STATE/$number.lock"
    done
    # shellcheck disable=SC2016
    export KATA_TEST_STATE=$KATA_TEST_STATE/$number
    exec unshare --net --mount --pid --fork \
        --kill-child --mount-proc -- sh -c '
        ip link set lo up
        mount -t tmpfs netns /run/netns
        # the shell stays, because process 1 must reap the others
        python "$@"
        exit $?' - "$@"
}

# Tests wait for a part of their time, so there are two workers. One worker runs
# all tests of a class, because they share its set-up.
WORKERS=(--concurrency 2 --group-regex '([^.]+\.)+')

# check NAME COMMAND...: a check that is no test; counts when it fails
check() {
    local name=$1
    shift
    say "$name"
    (cd "$REPOSITORY" && "$@") || fail "$name"
}

# run_tier NAME NUMBER OF REGEX...: run a tier; say when it begins and ends
run_tier() {
    local name=$1 number=$2 of=$3 begun=$SECONDS
    local passed=$PASSED failed=$FAILED skipped=$SKIPPED
    shift 3
    say "tier $number of $of, $name: begins"
    "run_$name" "$@"
    say "tier $number of $of, $name: took $(minutes $((SECONDS - begun)))," \
        "$((PASSED - passed)) passed, $((FAILED - failed)) failed," \
        "$((SKIPPED - skipped)) skipped"
}

# minutes SECONDS: print them for people
minutes() {
    printf '%d min %02d s' $(($1 / 60)) $(($1 % 60))
}

run_unit() {
    check "style and types" env PATH="$VENV/bin:$PATH" \
        pre-commit run --all-files
    say "unit tests"
    stestr_run unit "$@"
}

run_functional() {
    say "functional tests"
    use_state
    stestr_run functional "${WORKERS[@]}" "$@"
}

# use_state: a folder for the guests, if KATA_TEST_STATE names none
use_state() {
    if [[ -z $KATA_TEST_STATE ]]; then
        state=$(mktemp -d /var/tmp/kata-functional.XXXX)
        export KATA_TEST_STATE=$state
    fi
}

run_long() {
    local suite programs
    use_state
    say "long tests"
    stestr_run long "${WORKERS[@]}" "$@"
    for suite in "${OTHER_SUITES[@]}"; do
        [[ $# -eq 0 && $suite != $(. /etc/os-release && \
            echo "$VERSION_CODENAME") ]] || continue
        if ! programs=$(fetch_containerd "$suite" \
            "$REPOSITORY/.cache/containerd" "$logs/containerd.log"); then
            say "not tested with the containerd of Debian $suite:" \
                $'\n'"$(tail -n 5 "$logs/containerd.log")"
            SKIPPED=$((SKIPPED + 1))
            continue
        fi
        say "functional tests with $("$programs/containerd" --version)"
        PATH=$programs:$PATH stestr_run functional "${WORKERS[@]}" \
            "$OTHER_CONTAINERDS"
    done
}

# The stack gets a network namespace of its own: its ports, switch and
# interfaces conflict with no others, and end with it.
run_e2e() {
    local counts passed failed skipped
    KATA_E2E_STATE=$(mktemp -u -d /var/tmp/kata-e2e.XXXX)
    export KATA_E2E_STATE KATA_QUICKSTART_VENV=$VENV
    # the namespace has no way out
    if ! "$REPOSITORY/tools/quickstart.sh" --state-dir "$KATA_E2E_STATE" \
        prepare; then
        fail "quickstart.sh prepare"
        return
    fi
    counts=$(mktemp)
    unshare --net -- env KATA_TEST_COUNTS="$counts" "$0" e2e "$@" || true
    if read -r passed failed skipped <"$counts"; then
        PASSED=$((PASSED + passed))
        FAILED=$((FAILED + failed))
        SKIPPED=$((SKIPPED + skipped))
    else
        fail "tests of tier e2e: they gave no result"
    fi
    rm -f "$counts"
}

e2e_clean() {
    "$REPOSITORY/tools/quickstart.sh" --state-dir "$KATA_E2E_STATE" clean
}

e2e_in_namespace() {
    ip link set lo up
    trap e2e_clean EXIT
    if "$REPOSITORY/tools/quickstart.sh" --state-dir "$KATA_E2E_STATE"; then
        say "e2e tests"
        if [[ $# -gt 0 ]]; then
            stestr_run e2e --serial "$@"
        else
            stestr_run e2e "${WORKERS[@]}" --exclude-regex 'AloneTest'
            # the last one stops the stack
            stestr_run e2e --serial --exclude-regex 'e2e\.test_stop' \
                'AloneTest'
            stestr_run e2e --serial 'e2e\.test_stop'
        fi
    else
        tail -n 40 "$KATA_E2E_STATE"/logs/*-compute.log || true
        fail "quickstart.sh"
    fi
}

run_distribution() {
    local output passed failed skipped
    output=$(mktemp)
    "$REPOSITORY/tools/other-debian.sh" test "$@" 2>&1 | tee "$output" || true
    if read -r passed failed skipped < <(sed -n \
        's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' \
        "$output"); then
        PASSED=$((PASSED + passed))
        FAILED=$((FAILED + failed))
        SKIPPED=$((SKIPPED + skipped))
    else
        fail "tests of tier distribution: they gave no result"
    fi
    failures "$output"
    rm -f "$output"
}

summary() {
    local line="$PASSED passed, $FAILED failed, $SKIPPED skipped"
    if [[ -n ${KATA_TEST_COUNTS:-} ]]; then
        echo "$PASSED $FAILED $SKIPPED" >"$KATA_TEST_COUNTS"
    else
        if [[ -s $KATA_TEST_FAILURES ]]; then
            say "what failed:"
            cat "$KATA_TEST_FAILURES"
        fi
        echo "$line"
    fi
    [[ $FAILED -eq 0 ]]
}

case ${1:-all} in
    worker) shift; run_worker "$@" ;;  # what stestr begins
    all | unit | functional | distribution | e2e | long) ;;
    -h | --help | help) usage; exit ;;
    *) usage >&2; exit 2 ;;
esac
tier=${1:-all}
[[ $# -eq 0 ]] || shift

if [[ -n ${KATA_TEST_COUNTS:-} ]]; then
    e2e_in_namespace "$@"
    summary
    exit
fi

finish() {
    rm -rf "$logs"
    [[ -z $state ]] || forget_guest "$state"
}

# What would stop a later tier stops all of them now.
if [[ $tier != unit && $EUID -ne 0 ]]; then
    echo "test.sh: only the tier unit needs no root: ./tools/test.sh unit." \
        "The others need it for network namespaces, mounts and containerd:" \
        "run it as root or with sudo." >&2
    exit 2
fi
require_place "$REPOSITORY" "move the checkout to another file system"
require_place "${TMPDIR:-/tmp}" "name a folder elsewhere in TMPDIR"
if [[ $tier != unit ]]; then
    # containerd's sockets must have short paths, so TMPDIR is not used
    require_place /tmp "mount -o remount,exec /tmp"
    require_place /var/tmp "mount -o remount,exec /var/tmp"
    if [[ ${#KATA_TEST_STATE} -gt $MAX_STATE ]]; then
        die "the path $KATA_TEST_STATE is too long for Unix sockets below" \
            "it: name a folder of at most $MAX_STATE characters in" \
            "KATA_TEST_STATE."
    fi
fi

state=''
logs=$(mktemp -d)
trap finish EXIT
export KATA_TEST_FAILURES=$logs/failures
if [[ $tier != unit || $EUID -eq 0 ]]; then
    packages=(quickstart test)
    if [[ $tier == distribution || $tier == all ]]; then
        packages+=(distribution)
    fi
    install_packages "$logs/packages.log" "${packages[@]}"
fi
if [[ -z ${KATA_TEST_VENV:-} ]]; then
    install_venv "$VENV" "$logs/venv.log" requirements.txt \
        tools/quickstart/requirements.txt test-requirements.txt
fi
if [[ $tier != unit ]]; then
    KATA_TEST_KERNEL_DEB=$(fetch_kernel "$REPOSITORY/.cache/kernel" \
        "$logs/kernel.log")
    export KATA_TEST_KERNEL_DEB
fi
unset PYTHONDONTWRITEBYTECODE
export PYTHONWARNINGS=ignore
# what a test logs and prints is shown when it fails
export OS_LOG_CAPTURE=1 OS_STDOUT_CAPTURE=1 OS_STDERR_CAPTURE=1
if [[ $tier == all ]]; then
    run_tier unit 1 4
    run_tier functional 2 4
    run_tier distribution 3 4
    run_tier e2e 4 4
else
    run_tier "$tier" 1 1 "$@"
fi
summary
