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

"""The file /etc/hosts of a pod, which all its containers share.

As in Docker, it is written anew for each VM: changes that a user makes in a
running container last until the container stops.
"""

import os
import pathlib

from kata_openstack.compute.pods import cri_config
from kata_openstack import objects

_NAME = 'hosts'
_LOCAL = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""
# Debian's convention for a machine without an address of its own
_OWN = '127.0.1.1'


def content(pod: objects.Pod) -> str:
    name = cri_config.hostname(pod)
    short = name.partition('.')[0]
    names = name if short == name else f'{name} {short}'
    addresses = [fixed.address for vif in pod.vifs
                 for fixed in vif.fixed_ips] or [_OWN]
    return _LOCAL + ''.join(f'{each}\t{names}\n' for each in addresses)


def write(folder: pathlib.Path, pod: objects.Pod) -> None:
    """Write the file anew, and never into one that a container may have.

    :param folder: of the pod
    """
    path = folder / _NAME
    new = path.with_suffix('.new')
    new.write_text(content(pod))
    os.chmod(new, 0o644)  # any user of a container reads it
    os.replace(new, path)


def of_pod(folder: pathlib.Path, pod: objects.Pod) -> str:
    """Return the path of the file.

    Write it if the pod has none: an earlier release created it.
    """
    path = folder / _NAME
    if not path.exists():
        write(folder, pod)
    return str(path)
