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

"""Waits until the control plane reports that its agents are up."""

import time
from typing import Any

from tools.quickstart import identity
from tools.quickstart import process
from tools.quickstart import settings

SECONDS = 120


def containers(stack: settings.Stack, cloud: Any = None) -> Any:
    """A zunclient for the demo project.

    :param cloud: an openstacksdk connection to use.
    """
    from zunclient import client  # slow to import, and not always needed
    cloud = cloud or identity.connect(stack)
    return client.Client('1.40', session=cloud.session,
                         region_name='RegionOne')


def _missing(cloud: Any, zun: Any) -> str | None:
    """The name of a component that is not ready, or None."""
    if not any(agent.is_alive for agent in cloud.network.agents()):
        return 'the Open vSwitch agent'
    if not any(service.state == 'up' for service in zun.services.list()):
        return 'zun-compute'
    if not zun.hosts.list():
        return "zun-compute's resource tracker"
    return None


def wait(stack: settings.Stack) -> str:
    cloud = identity.connect(stack)
    zun = containers(stack, cloud)
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            missing = _missing(cloud, zun)
        except Exception as e:
            missing = f'an API ({e})'
        if missing is None:
            return 'OpenStack accepts containers'
        if time.monotonic() > deadline:
            raise settings.QuickstartError(
                f'{missing} is not ready after {SECONDS} s:\n'
                + process.log_tail(stack, 'ovs-agent') + '\n'
                + process.log_tail(stack, 'zun-compute'))
        for name in ('ovs-agent', 'zun-compute', 'kata-compute'):
            if process.find(stack, name) is None:
                raise settings.QuickstartError(
                    f'{name} exited:\n' + process.log_tail(stack, name))
        time.sleep(0.3)
