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
"""Registry mirrors, as containerd's hosts.toml files.

containerd's docs/hosts.md describes the format.
"""

from collections.abc import Iterable
import pathlib
import re
from urllib import parse

import tomli_w

from kata_openstack import exception

MARK = '# Written by kata-openstack; without this line it is left alone.\n'
_REGISTRY = re.compile(r'[A-Za-z0-9.-]+(:\d+)?')
# the server that holds the images of docker.io
_SERVERS = {'docker.io': 'https://registry-1.docker.io'}


def parse_option(mirrors: Iterable[str]) -> dict[str, list[str]]:
    """Return the URLs by registry.

    :param mirrors: the option [containerd] registry_mirrors.
    :raises InvalidInput: an item is not REGISTRY=URL or has a user.
    """
    found: dict[str, list[str]] = {}
    for item in mirrors:
        registry, _, url = item.partition('=')
        parts = parse.urlsplit(url)
        if (not _REGISTRY.fullmatch(registry) or not parts.hostname
                or parts.scheme not in ('http', 'https')
                or parts.username or parts.password):
            raise exception.InvalidInput(
                field='[containerd] registry_mirrors',
                # the URL may hold a password
                value=registry if parts.password else item,
                why='it is not REGISTRY=URL',
                remedy='Write it as docker.io=https://mirror.example, '
                       'without a user name and password.')
        found.setdefault(registry, []).append(url)
    return found


def files(mirrors: dict[str, list[str]],
          folder: pathlib.Path) -> dict[pathlib.Path, str]:
    """Return the files to write below containerd's registry folder."""
    return {folder / registry / 'hosts.toml': MARK + tomli_w.dumps({
        'server': _SERVERS.get(registry, f'https://{registry}'),
        'host': {url: {'capabilities': ['pull', 'resolve']}
                 for url in urls}}) for registry, urls in mirrors.items()}
