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
"""The results of the canaries, which are valid for one boot."""

from collections.abc import Mapping
import dataclasses
import json
import logging
import pathlib
import time
from typing import Any

from oslo_config import cfg

from kata_openstack.runtime.host import roots as host_roots
from kata_openstack.runtime.hypervisors import base
from kata_openstack.runtime import json_file
from kata_openstack import stored

LOG = logging.getLogger(__name__)

_FORMAT = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """The last canary of a handler.

    ``key`` identifies the configuration that it ran with. ``at`` is the end
    in seconds since 1970. ``seconds`` is the time from the request until its
    container ended, or until it failed with ``error`` ('' if it passed).
    ``failures`` counts the failures in a row with this configuration.
    """

    key: str
    passed: bool
    at: float
    seconds: float
    error: str = ''
    failures: int = 0

    def problem(self) -> base.Problem:
        when = time.strftime('%Y-%m-%d %H:%M:%SZ', time.gmtime(self.at))
        return base.Problem(
            reason=f'its canary sandbox failed at {when}: {self.error}',
            remedy="See containerd's log at that time and correct the "
                   'cause. kata-compute tries again by itself, at the latest '
                   'after [canary] retry_interval.')

    def to_dict(self) -> dict[str, Any]:
        """Return the record without the key, for output."""
        return {'passed': self.passed, 'at': self.at,
                'seconds': round(self.seconds, 3), 'error': self.error,
                'failures': self.failures}


def path(conf: cfg.ConfigOpts) -> pathlib.Path:
    return pathlib.Path(conf.run_path) / 'canary.json'


def boot_id() -> str:
    roots = host_roots.Roots()
    return roots.read(roots.proc / 'sys/kernel/random/boot_id').strip()


def load(file: pathlib.Path, boot: str | None = None) -> dict[str, Record]:
    """Return the records by handler; empty for another boot or no file.

    :param boot: the boot id to accept; None for that of this boot.
    """
    try:
        content = json.loads(file.read_text())
        if (content['format'] != _FORMAT
                or content['boot_id'] != (boot or boot_id())):
            return {}
        return {name: stored.load(Record, record)
                for name, record in content['handlers'].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as e:
        LOG.warning('Cannot read %s (%s); the canaries run again', file, e)
        return {}


def store(file: pathlib.Path, records: Mapping[str, Record]) -> None:
    """Replace the file atomically.

    An error is only logged: without the file, the canaries run again.
    """
    content = {'format': _FORMAT, 'boot_id': boot_id(), 'handlers': {
        name: dataclasses.asdict(r) for name, r in records.items()}}
    try:
        json_file.replace(file, content)
    except OSError as e:
        LOG.warning('Cannot write %s: %s', file, e)


def problems(records: Mapping[str, Record]) -> dict[str, base.Problem]:
    """Return the problems of the handlers whose canary failed."""
    return {name: record.problem() for name, record in records.items()
            if not record.passed}
