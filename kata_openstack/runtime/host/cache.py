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

"""A cache of the slow findings: KVM's measurement and programs' versions.

The measurement is valid for one boot, one device node and one user: those
are its key. A program's version is valid until its file changes.
"""

import dataclasses
import json
import logging
import os
import pathlib
from typing import Any

from kata_openstack.runtime.host import facts
from kata_openstack.runtime.host import roots as host_roots
from kata_openstack.runtime.host import versions
from kata_openstack.runtime import json_file
from kata_openstack import stored

LOG = logging.getLogger(__name__)

_FORMAT = 3


def key(boot_id: str, roots: host_roots.Roots) -> list[Any]:
    """Return the key of KVM's measurement.

    Loading KVM's module creates a new device node and so changes the key.
    """
    try:
        node = (roots.dev / 'kvm').stat()
        device: list[int | None] = [
            node.st_rdev, node.st_mode, node.st_uid, node.st_gid,
            node.st_ctime_ns]
    except OSError as e:
        device = [e.errno]
    return [_FORMAT, boot_id, os.geteuid(), *device]


def load(cache: pathlib.Path | None, wanted: list[Any],
          ) -> tuple[facts.Kvm | None, versions.Known]:
    """Return KVM's measurement and the versions of programs from the cache.

    :param wanted: the key of the measurement; one with another key is None.
    """
    if cache is None:
        return None, {}
    try:
        content = json.loads(cache.read_text())
        known = {str(k): str(v) for k, v in content['versions'].items()}
        if content['key'] != wanted or content['kvm'] is None:
            return None, known
        return stored.load(facts.Kvm, content['kvm']), known
    except FileNotFoundError:
        return None, {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as e:
        LOG.warning('Cannot read the cache %s (%s); measuring KVM again',
                    cache, e)
        return None, {}


def store(cache: pathlib.Path | None, key: list[Any],
           judged: facts.Kvm | None, known: versions.Known) -> None:
    """Replace the cache atomically.

    An error is only logged: without the cache, the next probe is slower.
    """
    if cache is None or not (judged or known):
        return
    content = {'key': key, 'versions': known,
               'kvm': dataclasses.asdict(judged) if judged else None}
    try:
        json_file.replace(cache, content)
    except OSError as e:
        LOG.debug('Cannot write the cache %s: %s', cache, e)
