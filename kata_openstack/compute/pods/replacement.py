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

"""Replaces stopped CRI containers by new ones that get their files.

If a step fails, or kata-compute dies at any point, one of a container's CRI
containers still has the files, and that one is not removed. The newest gets
them before it is started.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import itertools

from oslo_log import log as logging

from kata_openstack.compute.pods import handover
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb

LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def going_on(what: str) -> Iterator[None]:
    """Log and ignore an error in a clean-up step.

    :param what: the object that the step removes, for the log
    """
    try:
        yield
    except (exception.KataError, OSError) as e:
        LOG.warning('%s was not removed: %s', what, e)


class Replacement:
    """CRI containers that take over the files of others."""

    def __init__(self, client: cri.CriClient,
                 native_: native.NativeClient) -> None:
        self._client = client
        self._native = native_
        self._pairs: list[tuple[str, str, handover.Handover]] = []
        self._former: list[str] = []

    def settle(self, siblings: Sequence[pb.Container]) -> None:
        """Complete the hand-over of an interrupted start.

        Afterwards the newest has the files. Usually there is only one.

        :param siblings: all CRI containers of a container, oldest first
        """
        self._former += [c.id for c in siblings[:-1]]
        if siblings[-1].state == pb.CONTAINER_RUNNING:
            return  # it already has the files, and they are in use
        for older, newer in itertools.pairwise(siblings):
            handover.Handover(self._native, older.id, newer.id).give()

    def add(self, old_id: str, new_id: str) -> None:
        """Move the files of an old CRI container to a new one.

        On an error, call :meth:`undo`.
        """
        try:
            files = handover.Handover(self._native, old_id, new_id)
        except BaseException:
            with going_on(f'Container {new_id}'):
                self._client.remove_container(new_id)
            raise
        self._pairs.append((old_id, new_id, files))
        files.give()

    def undo(self) -> bool:
        """Move the files back and remove the new containers. Never raises.

        :returns: False if a new one may still have files, and must be kept
        """
        complete = True
        for old_id, new_id, files in reversed(self._pairs):
            try:
                self._client.stop_container(new_id, 0)
                files.take_back()
            except (exception.KataError, OSError) as e:
                LOG.warning('Container %s keeps the files of %s until the '
                            'next start: %s', new_id, old_id, e)
                complete = False
                continue
            with going_on(f'Container {new_id}'):
                self._client.remove_container(new_id)
        return complete

    def finish(self, sandboxes: Sequence[pb.PodSandbox]) -> None:
        """Remove the old containers. Never raises: the new ones run now.

        :param sandboxes: old sandboxes to remove, without new containers
        """
        for old_id in self._former:
            with going_on(f'Container {old_id}'):
                self._client.remove_container(old_id)
        for old_id, _, files in self._pairs:
            with going_on(f'Container {old_id}'):
                self._client.remove_container(old_id)
                files.forget()
        for sandbox in sandboxes:
            with going_on(f'Sandbox {sandbox.id}'):
                self._client.remove_pod_sandbox(sandbox.id)
