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

"""The version and the snapshotters of containerd.

The caller passes the client, so that the probe needs no gRPC and works on a
host without containerd.
"""

from collections.abc import Iterable
import dataclasses
import re
from typing import Protocol

from kata_openstack import exception


# Seconds that a client should use as its limit for each call. containerd
# answers in milliseconds; if it hangs, the probe must report that and go on.
TIMEOUT = 2.0


class Client(Protocol):
    """The calls that the probe makes; each may raise a KataError.

    ``snapshotters`` returns the names of those that containerd has loaded.
    """

    def version(self) -> str:
        ...

    def snapshotters(self) -> Iterable[str]:
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Containerd:
    """The running containerd.

    ``snapshotters`` is None if containerd did not answer.
    ``config_version``: the newest format of configuration files that it
    reads (2 or 3). Its own file may have an older one; the API does not
    report which.
    """

    reachable: bool
    version: str = ''
    config_version: int | None = None
    snapshotters: tuple[str, ...] | None = None
    reason: str = ''
    remedy: str = ''


def check(client: Client | None) -> Containerd | None:
    """Query containerd; return None without a client."""
    if client is None:
        return None
    try:
        version = client.version()
        snapshotters = tuple(sorted(client.snapshotters()))
    except exception.KataError as e:
        return Containerd(reachable=False, reason=str(e),
                          remedy='Start containerd, version 1.6 or later.')
    major = re.match(r'v?(\d+)\.', version)
    return Containerd(
        reachable=True, version=version,
        config_version=(None if major is None else
                        2 if int(major[1]) < 2 else 3),
        snapshotters=snapshotters,
        reason=f'containerd {version} has the snapshotters '
               f'{", ".join(snapshotters) or "none"}')
