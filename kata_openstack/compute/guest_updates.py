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

"""Keeps the guest of the embedded runtime as new as the distribution.

``kata-openstack embedded update`` builds a candidate, in a process of its own
with the lowest priority. Its canary runs beside the pods. Only if it passes
do pods that start from then on use it. No error of this delays or fails a
start: the guest in use stays.
"""

import pathlib
import subprocess
import sys
import threading

from oslo_config import cfg
from oslo_log import log as logging

from kata_openstack.compute import canaries
from kata_openstack import exception
from kata_openstack.runtime.embedded.image import preparation
from kata_openstack.runtime.hypervisors import embedded

LOG = logging.getLogger(__name__)

_HANDLER = 'kata-embedded'
_FIRST = 600.0  # seconds; a node that has just started has other work
_LIMIT = 3600.0  # seconds for a build


class GuestUpdates:
    """Updates the guest in a thread, from start() to stop()."""

    def __init__(self, conf: cfg.ConfigOpts,
                 canaries_: canaries.Canaries) -> None:
        self._conf = conf
        self._canaries = canaries_
        self._interval = conf.embedded.update_interval
        self._build: subprocess.Popen[str] | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._repeat, name='guest updates', daemon=True)

    def start(self) -> None:
        if self._interval:
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread and its build; wait for 1 s at most."""
        self._stopped.set()
        if self._build is not None:
            self._build.kill()
        if self._thread.ident:
            self._thread.join(1)

    def _repeat(self) -> None:
        pause = min(_FIRST, self._interval)
        while not self._stopped.wait(pause):
            pause = self._interval
            try:
                self.update()
            except Exception:
                LOG.exception('Unexpected error in the update of the guest')

    def update(self) -> None:
        """Update the guest, if there is one and it is not the newest."""
        if not embedded.config_path(self._conf).exists():
            return  # this node does not use the embedded runtime
        try:
            if not self._build_candidate():
                return
            record = self._canaries.try_candidate(
                _HANDLER, lambda: preparation.take_over(self._conf))
        except (exception.KataError, OSError) as e:
            if not self._stopped.is_set():
                LOG.warning('The guest of %s was not updated: %s', _HANDLER, e)
            return
        if record.passed:
            LOG.info('Pods of %s start with the new guest from now on; its '
                     'canary sandbox passed in %.2f s', _HANDLER,
                     record.seconds)
        else:
            LOG.error('The guest of %s was not updated: the canary sandbox of '
                      'the new one failed: %s', _HANDLER, record.error)

    def _build_candidate(self) -> bool:
        """Return whether there is a new guest.

        :raises RuntimeFailed: with the cause, such as a missing network.
        """
        script = pathlib.Path(sys.executable).with_name('kata-openstack')
        files = [f'--config-file={path}'
                 for path in self._conf.config_file or ()]
        with subprocess.Popen(
                ['nice', '-n', '19', str(script), *files, 'embedded',
                 'update'], text=True, errors='replace',
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE) as self._build:
            try:
                path, log = self._build.communicate(timeout=_LIMIT)
            except subprocess.TimeoutExpired:
                self._build.kill()
                path, log = '', f'it took longer than {_LIMIT:g} s'
        if self._build.returncode:
            lines = log.strip().splitlines()
            raise exception.RuntimeFailed(
                operation='Building it', why=lines[-1] if lines else
                f'exit code {self._build.returncode}')
        for line in log.splitlines():
            LOG.info('Update of the guest: %s', line)
        return bool(path.strip())
