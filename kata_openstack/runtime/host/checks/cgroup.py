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

"""Control groups: their version and the controllers that we may use."""

import dataclasses

from kata_openstack.runtime.host import roots as host_roots

NEEDED = ('cpu', 'memory', 'pids')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cgroup:
    """The control groups of this host and of this process.

    ``controllers``: all of this host. ``delegated``: those that this process
    may use. ``version`` is 2, 1 or, without control groups, 0. The hybrid
    layout counts as 1, because version 2 has no controllers in it.
    """

    version: int = 0
    path: str = ''
    controllers: tuple[str, ...] = ()
    delegated: tuple[str, ...] = ()
    reason: str = ''
    remedy: str = ''


def check(roots: host_roots.Roots) -> Cgroup:
    top = roots.sys / 'fs/cgroup'
    lines = [line.split(':', 2) for line in
             roots.read(roots.proc / 'self/cgroup').splitlines()]
    ours = next((parts[2] for parts in lines
                 if len(parts) == 3 and parts[0] == '0'), '')
    everything = tuple(roots.read(top / 'cgroup.controllers').split())
    if everything:
        version = 2
        # the parent group enables controllers for ours; the top group has
        # all of them
        here = roots.read(top / ours.strip('/') / 'cgroup.controllers')
        delegated = tuple(here.split()) or everything
    else:
        # version 1 lists its controllers by hierarchy in /proc/self/cgroup
        everything = delegated = tuple(sorted(
            name for parts in lines if len(parts) == 3 and parts[0] != '0'
            for name in parts[1].split(',') if name and '=' not in name))
        version = 1 if everything else 0
    missing = [name for name in NEEDED if name not in delegated]
    if not version:
        reason = 'there are no control groups'
        remedy = f'Mount them: mount -t cgroup2 none {top}.'
    elif missing:
        reason = (f'control groups have version {version}, without '
                  f'{", ".join(missing)}')
        remedy = ('Set Delegate=yes in the systemd unit of the service. If '
                  'the kernel lacks these controllers, install one that has '
                  'them.')
    else:
        reason = (f'control groups have version {version}, with '
                  f'{", ".join(NEEDED)}')
        remedy = ''
    return Cgroup(version=version, path=ours, controllers=everything,
                  delegated=delegated, reason=reason, remedy=remedy)
