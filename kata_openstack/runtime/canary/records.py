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
"""What became of the canaries, kept for the time of one boot."""

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

LOG = logging.getLogger(__name__)

_FORMAT = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """The last canary of a handler.

    ``key`` stands for the configuration with which it ran, ``at`` is its
    end in seconds since 1970, ``seconds`` the time from the request until
    its container had ended, or until it failed with ``error`` (else ''). The
    ``failures`` are those in a row, with this configuration.
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
            remedy="See containerd's log of that time. kata-compute tries "
                   'again by itself, at the latest after [canary] '
                   'retry_interval.')

    def to_dict(self) -> dict[str, Any]:
        """For people and scripts: without the key."""
        return {'passed': self.passed, 'at': self.at,
                'seconds': round(self.seconds, 3), 'error': self.error,
                'failures': self.failures}


def path(conf: cfg.ConfigOpts) -> pathlib.Path:
    return pathlib.Path(conf.run_path) / 'canary.json'


def boot_id() -> str:
    roots = host_roots.Roots()
    return roots.read(roots.proc / 'sys/kernel/random/boot_id').strip()


def load(file: pathlib.Path, boot: str | None = None) -> dict[str, Record]:
    """By handler; empty for another boot, or an unusable file.

    :param boot: the boot id to accept; None: that of this boot.
    """
    try:
        content = json.loads(file.read_text())
        if (content['format'] != _FORMAT
                or content['boot_id'] != (boot or boot_id())):
            return {}
        return {name: Record(**record)
                for name, record in content['handlers'].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as e:
        LOG.warning('%s is not usable (%s); the canaries run again.', file, e)
        return {}


def store(file: pathlib.Path, records: Mapping[str, Record]) -> None:
    """Replaces the file in one step. Without it, only time is lost."""
    content = {'format': _FORMAT, 'boot_id': boot_id(), 'handlers': {
        name: dataclasses.asdict(r) for name, r in records.items()}}
    try:
        json_file.replace(file, content)
    except OSError as e:
        LOG.warning('%s cannot be written: %s', file, e)


def problems(records: Mapping[str, Record]) -> dict[str, base.Problem]:
    """What stands against the handlers whose canary failed."""
    return {name: record.problem() for name, record in records.items()
            if not record.passed}
