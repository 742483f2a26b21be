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

"""Keeps what took time to find out: KVM's measurement, programs' versions.

KVM's measurement changes only with the boot, the device node or our own
rights: those are its key. A program's version changes only with its file.
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

LOG = logging.getLogger(__name__)

_FORMAT = 3


def key(boot_id: str, roots: host_roots.Roots) -> list[Any]:
    """What KVM's answer depends on; loading a module makes a new node."""
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
    """KVM's measurement if it was made for ``wanted``; and known versions."""
    if cache is None:
        return None, {}
    try:
        content = json.loads(cache.read_text())
        known = {str(k): str(v) for k, v in content['versions'].items()}
        if content['key'] != wanted or content['kvm'] is None:
            return None, known
        values = dict(content['kvm'])
        values['state'] = facts.KvmState(values['state'])
        return facts.Kvm(**values), known
    except FileNotFoundError:
        return None, {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as e:
        LOG.warning('The cache %s is not usable (%s); KVM is measured '
                    'again.', cache, e)
        return None, {}


def store(cache: pathlib.Path | None, key: list[Any],
           judged: facts.Kvm | None, known: versions.Known) -> None:
    """Replace the cache in one step; without it, only time is lost."""
    if cache is None or not (judged or known):
        return
    content = {'key': key, 'versions': known,
               'kvm': dataclasses.asdict(judged) if judged else None}
    try:
        json_file.replace(cache, content)
    except OSError as e:
        LOG.debug('The cache %s cannot be written: %s', cache, e)
