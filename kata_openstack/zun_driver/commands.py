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

"""Commands in running containers, which Zun first prepares and then runs."""

import collections
import dataclasses
import secrets
from typing import Any

from zun.common import exception as zun_exc
import zun.conf

from kata_openstack import exception
from kata_openstack.zun_driver import arguments
from kata_openstack.zun_driver import client
from kata_openstack.zun_driver import errors
from kata_openstack.zun_driver import refusals

CONF = zun.conf.CONF
_EXECS_MAX = 1000  # beyond this, drop the oldest command that was not run


@dataclasses.dataclass(frozen=True)
class _Exec:
    context: dict[str, Any]
    host: str
    container: str


class Commands:
    """A mixin; list it before Zun's ContainerDriver in the bases."""

    def __init__(self) -> None:
        super().__init__()
        self._execs: collections.OrderedDict[str, _Exec] = (
            collections.OrderedDict())

    @errors.translated
    def execute_create(self, context: Any, container: Any, command: str,
                       interactive: bool = False) -> str:
        """Prepare a command.

        :returns: an ID for execute_run(), 64 hexadecimal digits.
        """
        refusals.refuse_uncreated(container)
        if interactive:
            raise exception.Unsupported(
                operation='interactive commands',
                remedy=refusals.EXEC_REMEDY)
        exec_id = secrets.token_hex(32)
        self._execs[exec_id] = _Exec(client.context(context),
                                     client.host(container), container.uuid)
        while len(self._execs) > _EXECS_MAX:
            self._execs.popitem(last=False)
        return exec_id

    @errors.translated
    def execute_run(self, exec_id: str, command: str) -> tuple[str, int]:
        """Run a prepared command.

        :returns: the output of both streams, and the exit code.
        """
        prepared = self._execs.pop(exec_id, None)
        if prepared is None:
            raise errors.make(
                zun_exc.Invalid,
                f'Unknown exec ID {exec_id}: its command has already run, or '
                'the ID has expired. Run the command again: openstack '
                'appcontainer exec.')
        try:
            found = client.api().exec_sync(
                prepared.context, prepared.host, prepared.container,
                arguments.words(command), CONF.kata_driver.exec_timeout)
        except exception.RuntimeFailed as e:
            # The user can act on most of these, such as a timeout. Zun hides
            # the text of a server error (HTTP 500).
            raise errors.make(zun_exc.Conflict, errors.text(e)) from e
        return found['output'], found['exit_code']
