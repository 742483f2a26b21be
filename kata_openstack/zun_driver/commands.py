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

"""Commands in running containers, and their terminals.

Zun first prepares a command. Then it runs it, or zun-wsproxy connects the user
to it: by Docker's API, which kata-compute serves for this.
"""

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
# Instead of False: zun-wsproxy will start the command, without a terminal
WITHOUT_TERMINAL = object()
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
                       interactive: Any = False) -> str:
        """Prepare a command.

        :param interactive: False, True or WITHOUT_TERMINAL
        :returns: an ID, 64 hexadecimal digits: for execute_run(), or, if
            ``interactive``, for the server of which Zun stores the URL next.
        """
        refusals.refuse_uncreated(container)
        if interactive:
            made = client.api().create_exec(
                client.context(context), client.host(container),
                container.uuid, arguments.words(command),
                interactive is not WITHOUT_TERMINAL)
            # Each node has a server of its own, and kata-compute knows it.
            CONF.set_override('docker_remote_api_url', made['url'], 'docker')
            return str(made['exec_id'])
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

    @errors.translated
    def execute_resize(self, exec_id: str, height: Any, width: Any) -> None:
        """Set the size of the terminal of a command."""
        client.api().resize_exec(client.context(None), CONF.host, exec_id,
                                 arguments.side(height),
                                 arguments.side(width))

    @errors.translated
    def get_websocket_url(self, context: Any, container: Any) -> str:
        """Return a URL, with a secret in it, for zun-wsproxy."""
        refusals.refuse_uncreated(container)
        return str(client.api().attach_container(
            client.context(context), client.host(container),
            container.uuid)['url'])

    @errors.translated
    def resize(self, context: Any, container: Any, height: Any, width: Any
               ) -> Any:
        """Set the size of the terminal of the container's first process."""
        refusals.refuse_uncreated(container)
        client.api().resize_terminal(
            client.context(context), client.host(container), container.uuid,
            arguments.side(height), arguments.side(width))
        return container
