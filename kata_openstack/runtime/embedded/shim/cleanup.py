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

"""Remove everything of a sandbox, even if its shim was killed."""

import os
import shutil

from kata_openstack.runtime.embedded.common import mounts
from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.shim import log
from kata_openstack.runtime.embedded.shim import state
from kata_openstack.runtime.embedded.vm import machine
from kata_openstack.runtime.embedded.vm import pod_cgroup
from kata_openstack.runtime.embedded.vm import share
from kata_openstack.runtime.embedded.vm import users
from kata_openstack.runtime.embedded.vm import vm_memory

# to remove a cgroup; each takes up to 4 s
_ATTEMPTS = 30


def clean_up(config: settings.Settings, sandbox: str,
             cgroup_path: str, namespace: str = '') -> None:
    """Remove a sandbox's processes, mounts, files, user ID and cgroup.

    Idempotent. The caller itself may be in the cgroup.

    :param cgroup_path: used if the sandbox left no state file.
    :param namespace: containerd's, to which the sandbox must belong: another
        one may have a sandbox with the same ID. '' for any.
    """
    folder = config.sandbox_path(sandbox)
    note = state.State.load(config, sandbox)
    if note and namespace not in ('', note.namespace):
        return
    group = pod_cgroup.Cgroup(note.cgroup if note else cgroup_path)
    steps = [
        lambda: group.kill(spare=os.getpid()),
        lambda: machine.remove_file(f'{config.memory_path}/vm-{sandbox}'),
        lambda: vm_memory.release(config, sandbox),
        share.Share(folder).remove,
        share.Share(folder, live=True).remove]
    if note:
        _end_recorded(note)
        steps += [lambda: machine.remove_file(note.ram),
                  lambda: machine.remove_file(note.socket),
                  lambda: users.release(config, note.uid)]
    # remove the state file late: after an interruption it is needed again
    steps += [lambda: _remove_folder(folder), lambda: _remove_group(group)]
    for step in steps:
        try:
            step()
        except OSError as e:  # the other steps must run all the same
            log.error(f'could not clean up all of sandbox {sandbox}: {e}')


def _remove_group(group: pod_cgroup.Cgroup) -> None:
    """Remove the cgroup; if its processes do not end soon, in the background.

    containerd waits only seconds for a clean-up. On a busy host, the exit of
    a killed process can take longer.
    """
    me = os.getpid()
    if group.remove(move=me if me in group.pids() else 0) or os.fork():
        return
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):  # containerd waits until they are closed
            os.dup2(null, number)
        for _ in range(_ATTEMPTS):
            group.kill(spare=os.getpid())
            if group.remove():
                break
    finally:
        os._exit(0)


def _remove_folder(folder: str) -> None:
    """Remove a folder, unless mounts are left in it: never touch those."""
    if not mounts.below(folder):
        shutil.rmtree(folder, ignore_errors=True)


def _end_recorded(note: state.State) -> None:
    """Kill the processes of the state file, for hosts without cgroups.

    Pids are reused, so a process must have the command line and the user of
    the one that was recorded.
    """
    me = os.geteuid()
    for pid, program, uid in ((note.shim, 'shim', me),
                              (note.qemu, 'qemu', note.uid),
                              (note.virtiofsd, 'virtiofsd', me),
                              (note.virtiofsd_live, 'virtiofsd', me)):
        if pid != os.getpid() and _lives(note, pid, program, uid):
            machine.end_process(pid)


def shim_lives(note: state.State) -> bool:
    """Return whether the shim of a sandbox runs."""
    return _lives(note, note.shim, 'shim', os.geteuid())


def _lives(note: state.State, pid: int, program: str, uid: int) -> bool:
    if not pid:
        return False
    try:
        with open(f'/proc/{pid}/cmdline') as file:
            words = file.read()
        found = _uid(pid)
    except OSError:
        return False
    # only QEMU's command line does not name the sandbox
    return program in words and found == uid and (
        program == 'qemu' or note.sandbox in words)


def _uid(pid: int) -> int:
    """Return the user ID of a process.

    The owner of its folder in /proc may be root instead.
    """
    with open(f'/proc/{pid}/status') as file:
        return next(int(line.split()[1]) for line in file
                    if line.startswith('Uid:'))
