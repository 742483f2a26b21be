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

"""What containerd offers, told by a client that the caller brings.

The probe itself speaks no gRPC: it works on a host without containerd.
"""

from collections.abc import Iterable
import dataclasses
import re
from typing import Protocol

from kata_openstack import exception


# Seconds that a client should grant each question: containerd answers in
# milliseconds, and a probe must tell that it hangs, not hang as well.
TIMEOUT = 2.0


class Client(Protocol):
    """What the probe asks; each may raise a KataError.

    ``snapshotters``: names of those that loaded.
    """

    def version(self) -> str:
        ...

    def snapshotters(self) -> Iterable[str]:
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Containerd:
    """``snapshotters`` is None where containerd did not tell.

    ``config_version``: the newest format of a configuration that it reads
    (2 or 3); its own file may have an older one, which it does not tell.
    """

    reachable: bool
    version: str = ''
    config_version: int | None = None
    snapshotters: tuple[str, ...] | None = None
    reason: str = ''
    remedy: str = ''


def check(client: Client | None) -> Containerd | None:
    """None without a client: nothing is known then, good or bad."""
    if client is None:
        return None
    try:
        version = client.version()
        snapshotters = tuple(sorted(client.snapshotters()))
    except exception.KataError as e:
        return Containerd(reachable=False, reason=str(e),
                          remedy='Start containerd 1.6 or later.')
    major = re.match(r'v?(\d+)\.', version)
    return Containerd(
        reachable=True, version=version,
        config_version=(None if major is None else
                        2 if int(major[1]) < 2 else 3),
        snapshotters=snapshotters,
        reason=f'containerd {version} has the snapshotters '
               f'{", ".join(snapshotters) or "none"}')
