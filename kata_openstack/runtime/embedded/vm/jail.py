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

"""Confine QEMU.

QEMU gets all its resources as open files (sockets, taps, state) and in the
RAM file. So it can run as its own user, without capabilities, in a root
that holds only programs, and in its own network, mount, IPC and UTS
namespaces.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import os
import stat

from kata_openstack.runtime.embedded.common import syscalls

RAM = '/ram'
_READ_ONLY = (syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY
              | syscalls.MS_NOSUID | syscalls.MS_NODEV)


def enter(root: str, uid: int, qemu: str, files: Mapping[str, str],
          devices: Sequence[str]) -> None:
    """Confine the calling process. It cannot leave the jail again.

    :param root: an empty folder, used as a mount point.
    :param files: path outside by path inside; RAM is one of them.
    :param devices: device nodes that QEMU needs.
    """
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET
                     | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS)
    syscalls.mount('', '/', flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount('tmpfs', root, 'tmpfs', syscalls.MS_NOSUID
                   | syscalls.MS_NOEXEC, 'size=256k,mode=755')
    for path in _programs(qemu):
        _bind(path, root)
    os.mkdir(f'{root}/dev')
    for device in ('/dev/null', '/dev/urandom', *devices):
        number = os.stat(device).st_rdev
        os.mknod(root + device, stat.S_IFCHR | 0o600, number)
        os.chown(root + device, uid, uid)
    for inside, outside in files.items():
        open(root + inside, 'w').close()
        syscalls.mount(outside, root + inside, flags=syscalls.MS_BIND)
    # With the old root still there, a file system that the host unmounts
    # would stay in use until this VM ends.
    os.chdir(root)
    syscalls.pivot_root('.', '.')
    syscalls.umount('.', syscalls.MNT_DETACH)
    os.chdir('/')
    syscalls.no_new_privileges()
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _programs(qemu: str) -> list[str]:
    found = ['/usr', '/etc/ld.so.cache']
    if not qemu.startswith('/usr/'):
        found.append(os.path.dirname(os.path.dirname(qemu)))
    found += [path for path in ('/lib', '/lib64', '/bin')
              if os.path.exists(path)]
    return found


def _bind(path: str, root: str) -> None:
    target = root + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), target)
        return
    if os.path.isdir(path):
        os.mkdir(target)
    else:
        open(target, 'w').close()
    syscalls.mount(path, target, flags=syscalls.MS_BIND | syscalls.MS_REC)
    syscalls.mount('', target, flags=_READ_ONLY)
