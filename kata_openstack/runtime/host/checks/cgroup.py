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

"""Control groups: which version, and what may be limited in ours."""

import dataclasses

from kata_openstack.runtime.host import roots as host_roots

NEEDED = ('cpu', 'memory', 'pids')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cgroup:
    """``controllers``: all of this host; ``delegated``: usable by us.

    ``version`` is 0 where there are no control groups, 1 also for the
    hybrid layout, in which version 2 has no controllers.
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
        # what the parent enables is what we may limit by; at the top, that
        # is everything
        here = roots.read(top / ours.strip('/') / 'cgroup.controllers')
        delegated = tuple(here.split()) or everything
    else:
        # version 1 has one hierarchy a controller, each visible as a folder
        everything = delegated = tuple(sorted(
            name for parts in lines if len(parts) == 3 and parts[0] != '0'
            for name in parts[1].split(',') if name and '=' not in name))
        version = 1 if everything else 0
    missing = [name for name in NEEDED if name not in delegated]
    if not version:
        reason = 'there are no control groups'
        remedy = f'Mount cgroup2 at {top}.'
    elif missing:
        reason = (f'control groups have version {version}, without '
                  f'{", ".join(missing)}')
        remedy = ('Delegate them: Delegate=yes in the systemd unit of the '
                  'service, or a kernel that has them.')
    else:
        reason = (f'control groups have version {version}, with '
                  f'{", ".join(NEEDED)}')
        remedy = ''
    return Cgroup(version=version, path=ours, controllers=everything,
                  delegated=delegated, reason=reason, remedy=remedy)
