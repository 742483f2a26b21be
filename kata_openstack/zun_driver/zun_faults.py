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

"""Replace methods of Zun 18's manager that have faults."""

from typing import Any

from zun.compute import manager

from kata_openstack.zun_driver import commands

_zuns_kill = manager.Manager.container_kill
_zuns_exec = manager.Manager.container_exec


def replace() -> None:
    manager.Manager.container_kill = _container_kill
    manager.Manager.container_exec = _container_exec


def _container_kill(self: Any, context: Any, container: Any,
                    signal: str | None = None) -> None:
    """Accept a call without a signal.

    When zun-compute starts, it repeats a kill that was interrupted, and names
    no signal. The TypeError ended each further start.
    """
    _zuns_kill(self, context, container, signal)


def _container_exec(self: Any, context: Any, container: Any, command: str,
                    run: bool, interactive: Any) -> Any:
    """Tell the driver of a command that zun-wsproxy will start.

    The driver learns from Zun only whether it needs a terminal.
    """
    if not run and not interactive:
        interactive = commands.WITHOUT_TERMINAL
    return _zuns_exec(self, context, container, command, run, interactive)
