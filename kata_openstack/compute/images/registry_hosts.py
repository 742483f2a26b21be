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

"""From where containerd gets the images of a registry, told to skopeo.

containerd reads ``hosts.toml`` (its docs/hosts.md), skopeo reads
containers-registries.conf(5). Mirrors carry over, also those without TLS.
Paths in URLs do not: both programs use them in another way.
"""

from collections.abc import Iterator
import json
import pathlib
import tomllib
from typing import Any
from urllib import parse

from oslo_log import log as logging
import tomli_w

from kata_openstack.runtime.containerd import cri

LOG = logging.getLogger(__name__)

# containerd 2 does not tell its folder
_FOLDER = '/etc/containerd/certs.d'


def registries_conf(client: cri.CriClient, registry: str) -> str:
    """Return a file for skopeo, '' if the registry has no mirrors.

    :raises KataError: containerd does not answer
    """
    config = json.loads(client.status(verbose=True).info.get('config') or '{}')
    folders = (config.get('registry') or {}).get('configPath') or _FOLDER
    mirrors = [{'location': location, 'insecure': insecure}
               for folder in folders.split(':')
               for location, insecure in _mirrors(
                   pathlib.Path(folder), registry)]
    return tomli_w.dumps({'registry': [{
        'prefix': registry, 'location': registry,
        'mirror': mirrors}]}) if mirrors else ''


def _mirrors(folder: pathlib.Path, registry: str
             ) -> Iterator[tuple[str, bool]]:
    """Yield host and port, and whether TLS is not needed, in their order."""
    document = _document(folder, registry)
    server = document.get('server')
    for url, options in {**(document.get('host') or {}),
                         **({server: {}} if server else {})}.items():
        parts = parse.urlsplit(url)
        able = options.get('capabilities', ['pull', 'resolve'])
        if parts.netloc and parts.path in ('', '/') and 'pull' in able:
            yield parts.netloc, (parts.scheme == 'http'
                                 or bool(options.get('skip_verify')))


def _document(folder: pathlib.Path, registry: str) -> dict[str, Any]:
    """Return the first hosts.toml that containerd would use."""
    host, _, port = registry.partition(':')
    for name in (f'{host}_{port}_', registry, '_default'):
        path = folder / name / 'hosts.toml'
        try:
            return tomllib.loads(path.read_text())
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as e:
            LOG.warning('Cannot read %s: %s', path, e)
            break
    return {}
