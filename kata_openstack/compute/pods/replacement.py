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

"""New CRI containers for those that were stopped, with their files.

Whatever fails, and wherever kata-compute dies, the files stay with one of a
container's CRI containers, and that one is not removed: the newest gets them
before it is started.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import itertools

from oslo_log import log as logging

from kata_openstack.compute.pods import layers
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb

LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def going_on(what: str) -> Iterator[None]:
    """For a step of a clean-up, whose error must not end it.

    :param what: is left if it fails, for the log
    """
    try:
        yield
    except (exception.KataError, OSError) as e:
        LOG.warning('%s is left: %s', what, e)


class Replacement:
    """CRI containers that take over the writable layers of others."""

    def __init__(self, client: cri.CriClient,
                 native_: native.NativeClient) -> None:
        self._client = client
        self._native = native_
        self._pairs: list[tuple[str, str, layers.Handover]] = []
        self._former: list[str] = []

    def settle(self, siblings: Sequence[pb.Container]) -> None:
        """Complete what an interrupted start began.

        The newest then has the files. There is only one in general.

        :param siblings: all of one container, the oldest first
        """
        self._former += [c.id for c in siblings[:-1]]
        if siblings[-1].state == pb.CONTAINER_RUNNING:
            return  # so it had them before, and they are in use
        for older, newer in itertools.pairwise(siblings):
            layers.Handover(self._native, older.id, newer.id).give()

    def add(self, old_id: str, new_id: str) -> None:
        """On an error, call undo."""
        try:
            handover = layers.Handover(self._native, old_id, new_id)
        except BaseException:
            with going_on(f'Container {new_id}'):
                self._client.remove_container(new_id)
            raise
        self._pairs.append((old_id, new_id, handover))
        handover.give()

    def undo(self) -> bool:
        """Give the layers back, and remove the new ones. Never raises.

        :returns: False if a new one may still have files, and must be kept
        """
        complete = True
        for old_id, new_id, handover in reversed(self._pairs):
            try:
                self._client.stop_container(new_id, 0)
                handover.take_back()
            except (exception.KataError, OSError) as e:
                LOG.warning('Container %s keeps the files of %s until the '
                            'next start: %s', new_id, old_id, e)
                complete = False
                continue
            with going_on(f'Container {new_id}'):
                self._client.remove_container(new_id)
        return complete

    def finish(self, sandboxes: Sequence[pb.PodSandbox]) -> None:
        """Remove the old ones. Never raises: the new ones run by now.

        :param sandboxes: those without any of the new ones
        """
        for old_id in self._former:
            with going_on(f'Container {old_id}'):
                self._client.remove_container(old_id)
        for old_id, _, handover in self._pairs:
            with going_on(f'Container {old_id}'):
                self._client.remove_container(old_id)
                handover.forget()
        for sandbox in sandboxes:
            with going_on(f'Sandbox {sandbox.id}'):
                self._client.remove_pod_sandbox(sandbox.id)
