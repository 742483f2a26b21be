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

"""The phases that notifications have reported, kept across restarts.

It is not the state of the containers. Losing it only loses notifications,
of events while kata-compute was down.

The file never has a phase whose notification waits for the message broker.
If kata-compute ends before it is sent, the next process finds it missing, and
reports it.
"""

from collections.abc import Callable
import dataclasses
import json
import pathlib
import threading
from typing import Any

from oslo_log import log as logging

from kata_openstack.compute.pods import labels
from kata_openstack.runtime import json_file
from kata_openstack import stored

LOG = logging.getLogger(__name__)

# The phases of a sandbox or a container, in their order
CREATED = 'created'
STARTED = 'started'
EXITED = 'exited'
PHASES = [CREATED, STARTED, EXITED]


@dataclasses.dataclass
class Entry:
    """One sandbox or container.

    :param labels: ours, see :mod:`kata_openstack.compute.pods.labels`.
    :raises ValueError: labels that identify it are missing, or the phase is
        unknown.
    """

    sandbox: bool
    labels: dict[str, str]
    image: str = ''
    phase: str = CREATED
    oom: bool = False

    def __post_init__(self) -> None:
        wanted = [labels.POD] if self.sandbox else [labels.POD,
                                                    labels.CONTAINER]
        missing = [name for name in wanted if not self.labels.get(name)]
        if missing:
            raise ValueError(f'it has no label {missing[0]}')
        if self.phase not in PHASES:
            raise ValueError(f'unknown phase {self.phase[:32]!r}')


class Journal(dict[str, Entry]):
    """Entries by the ids of containerd's containers.

    ``fresh``: nothing could be read, and nothing was saved since.

    :param after_sent: calls its argument once all notifications so far have
        been sent, perhaps in another thread
    """

    def __init__(self, path: pathlib.Path,
                 after_sent: Callable[[Callable[[], None]], None]
                 = lambda action: action()) -> None:
        super().__init__()
        self._path = path
        self._after_sent = after_sent
        self.fresh = True
        self._lock = threading.Lock()  # for the rest
        self._latest: dict[str, Any] | None = None  # what is to be written
        self._waiting = False  # for notifications
        try:
            content = json.loads(path.read_text())
            if not isinstance(content, dict):
                raise ValueError('it is not a JSON object')
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as e:
            LOG.warning('Could not read %s, starting an empty journal: %s',
                        path, e)
            return
        for ident, fields in content.items():
            try:
                self[ident] = stored.load(Entry, fields)
            except ValueError as e:
                LOG.warning('Could not read the entry %s of %s: %s', ident,
                            path, e)
        self.fresh = bool(content) and not self

    def save(self) -> None:
        """Write the file if something has changed; only log a failure.

        Most events change nothing: those of execs and of other clients. The
        file is written when the notifications of the changes have been sent.
        """
        content = {ident: dataclasses.asdict(entry)
                   for ident, entry in self.items()}
        with self._lock:
            if content == self._latest:
                return
            self._latest = content
            self.fresh = False
            if self._waiting:  # _write() goes on with it
                return
            self._waiting = True
        self._after_sent(lambda: self._write(content))

    def _write(self, content: dict[str, Any]) -> None:
        written = True
        try:
            # Not durable: losing it only loses notifications, and a tenant who
            # writes much to the same disk would delay all events.
            json_file.replace(self._path, content)
        except OSError as e:
            LOG.warning('Could not write %s: %s', self._path, e)
            written = False
        with self._lock:
            latest = self._latest
            self._waiting = latest is not None and latest is not content
            if not written and not self._waiting:
                self._latest = None  # the next save() tries again
        if latest is not None and latest is not content:
            self._after_sent(lambda: self._write(latest))
