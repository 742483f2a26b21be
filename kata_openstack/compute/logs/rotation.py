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

"""Keeps the logs of containers from filling the host's disk.

containerd writes CRI logs without a limit. In Kubernetes the kubelet rotates
them; here kata-compute does. A tenant's "yes" writes about 30 MiB per
second, so the sizes are checked every few seconds.
"""

import os
import pathlib
import threading

from oslo_config import cfg
from oslo_log import log as logging
from oslo_utils import units

from kata_openstack.compute.logs import folders
from kata_openstack.compute.logs import reader
from kata_openstack.compute.pods import labels
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb

LOG = logging.getLogger(__name__)

_INTERVAL = 3.0  # seconds
# Seconds for containerd to reopen a log; all other logs wait for it
_REOPEN_SECONDS = 5.0


class LogRotation:
    """Rotates the logs in a thread, from start() to stop()."""

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient) -> None:
        self._limit = conf.compute.max_log_file_mib * units.Mi
        self._folder = folders.root(conf)
        self._client = client
        # files to which no container writes: their size and time of change
        self._ended: dict[pathlib.Path, tuple[int, int]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name='logs',
                                        daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.ident:
            self._thread.join(10)

    def _repeat(self) -> None:
        while not self._stopped.wait(_INTERVAL):
            try:
                self.rotate()
            except Exception:
                LOG.exception('Unexpected error in the rotation of logs')

    def rotate(self) -> None:
        """Set aside each log that is too large, replacing the last one.

        A process that died between the two steps of a rotation left a log
        set aside into which containerd still writes: finish that first.
        """
        for aside in self._folder.glob('*/*.log.1'):
            path = aside.with_suffix('')
            if not path.exists():
                try:
                    self._reopen(path, aside)
                except FileNotFoundError:  # deleted since
                    continue
                except exception.KataError as e:
                    LOG.warning('Could not reopen log %s; its container '
                                'writes to %s: %s', path, aside, e)
        for path in self._folder.glob('*/*.log'):
            try:
                if path.stat().st_size > self._limit:
                    self._rotate(path)
            except FileNotFoundError:  # deleted since
                continue
            except exception.KataError as e:
                LOG.warning('Could not rotate log %s; it keeps growing: %s',
                            path, e)
        for path in [p for p in self._ended if not p.exists()]:
            del self._ended[path]

    def _rotate(self, path: pathlib.Path) -> None:
        """:raises KataError: if containerd does not reopen the log"""
        if not self._writers(path, path):
            return
        aside = reader.older(path)
        # a process that died in _put_back() left two names of one file,
        # which os.replace() leaves alone
        aside.unlink(missing_ok=True)
        os.replace(path, aside)
        try:
            self._reopen(path, aside)
        except exception.KataError:
            # containerd still writes to it: the next round must find it
            _put_back(aside, path)
            raise

    def _writers(self, path: pathlib.Path,
                 file: pathlib.Path) -> list[pb.Container]:
        """Return the running CRI containers that write to a log.

        The large log of a container that has ended stays, so that users can
        read it. Until its file changes, containerd is not asked again.

        :param file: the file to which they write: the log, or the one set
            aside
        """
        state = file.stat()
        mark = (state.st_size, state.st_mtime_ns)
        if self._ended.get(file) == mark:
            return []
        found = [c for c in self._client.list_containers(
            {labels.CONTAINER: path.stem})
            if c.state == pb.CONTAINER_RUNNING]
        if not found:
            self._ended[file] = mark
        return found

    def _reopen(self, path: pathlib.Path, aside: pathlib.Path) -> None:
        """:raises KataError: if containerd does not reopen the log"""
        for container in self._writers(path, aside):
            self._client.reopen_log(container.id, timeout=_REOPEN_SECONDS)


def _put_back(aside: pathlib.Path, path: pathlib.Path) -> None:
    """Give a log its name again, unless containerd has made the new one.

    Its answer may only be late. Then its new log must not be replaced.
    """
    try:
        os.link(aside, path)
    except FileExistsError:
        return
    aside.unlink()
