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

"""The configuration of our runtime handlers for containerd.

Sources: containerd's docs/cri/config.md of 1.6, 1.7 and 2.x, and what
upstream's kata-deploy writes.
"""

from collections.abc import Mapping
import re
from typing import Any

from oslo_config import cfg
import tomli_w

from kata_openstack import exception
from kata_openstack.runtime.hypervisors import base

# Annotations that containerd passes on to the shim. kata-compute creates them.
# Do not add io.katacontainers.*: some of these open a root shell in the guest,
# so those of tenants must never reach the shim.
POD_ANNOTATIONS = ['kata-openstack.io/*']

_CRI_V2 = 'io.containerd.grpc.v1.cri'
_RUNTIME_V3 = 'io.containerd.cri.v1.runtime'
_IMAGES_V3 = 'io.containerd.cri.v1.images'


def format_version(containerd_version: str) -> int:
    """Return the version of containerd's configuration format.

    :param containerd_version: such as ``1.6.20~ds1`` or ``v2.1.4``.
    :returns: 2 (containerd 1.6 and 1.7) or 3 (containerd 2).
    :raises InvalidInput: the version cannot be parsed or is too old.
    """
    return 2 if _parse(containerd_version) < (2, 0) else 3


def _parse(containerd_version: str) -> tuple[int, int]:
    match = re.match(r'v?(\d+)\.(\d+)', containerd_version)
    parsed = (int(match[1]), int(match[2])) if match else (0, 0)
    if parsed < (1, 6):
        raise exception.InvalidInput(
            field='containerd version', value=containerd_version,
            why='it is not 1.6 or later', remedy='Install containerd 1.6, '
            '1.7 or 2.')
    return parsed


def _shim(handler: base.Handler, files: base.Files,
          containerd_version: str) -> dict[str, str]:
    """Return the options by which containerd finds the shim.

    The shim may not be in containerd's PATH. containerd 1.6 accepts
    runtime_path but ignores it (containerd issue 8207); there the type may
    be a path.
    """
    path = str(files.runtime_path)
    if _parse(containerd_version) < (1, 7):
        return {'runtime_type': path}
    return {'runtime_type': handler.runtime_type, 'runtime_path': path}


def _runtime(conf: cfg.ConfigOpts, handler: base.Handler,
             files: base.Files, containerd_version: str) -> dict[str, Any]:
    section: dict[str, Any] = {
        **_shim(handler, files, containerd_version),
        # a privileged container is root in its guest, not on this host
        'privileged_without_host_devices': True,
        'pod_annotations': POD_ANNOTATIONS,
        'container_annotations': [],
    }
    chosen = conf.kata.snapshotters.get(handler.name)
    if _parse(containerd_version) >= (1, 7):
        snapshotter = chosen or handler.snapshotter
        if snapshotter:
            section['snapshotter'] = snapshotter
    elif chosen:
        raise exception.InvalidInput(
            field='[kata] snapshotters', value=handler.name,
            why=f'containerd {containerd_version} has one snapshotter for '
                'all handlers',
            remedy='Upgrade to containerd 1.7 or later, or remove the handler '
                   'from the option.')
    section['options'] = {'ConfigPath': str(files.config_path)}
    return section


def sections(conf: cfg.ConfigOpts, handlers: Mapping[base.Handler, base.Files],
             containerd_version: str, file_version: int | None = None,
             ) -> dict[str, Any]:
    """Return the tables of ``plugins``, with a section for each handler.

    :param handlers: the result of :meth:`.node.Node.files`.
    :param file_version: the format of the file; None for the newest that
        containerd reads.
    :raises InvalidInput: containerd is too old for this project, or for
        [kata] snapshotters.
    """
    version = file_version or format_version(containerd_version)
    runtimes = {h.name: _runtime(conf, h, files, containerd_version)
                for h, files in handlers.items()}
    plugins: dict[str, Any] = {
        runtime_plugin(version): {'containerd': {'runtimes': runtimes}}}
    platforms = {name: {'snapshotter': section['snapshotter']}
                 for name, section in runtimes.items()
                 if 'snapshotter' in section}
    if version == 3 and platforms:
        # the images plugin reads the snapshotter of a handler from here, not
        # from the runtime plugin
        plugins[images_plugin(version)] = {'runtime_platforms': platforms}
    return plugins


def runtime_plugin(file_version: int) -> str:
    """Return the name of the plugin with the runtimes in this format."""
    return _CRI_V2 if file_version == 2 else _RUNTIME_V3


def images_plugin(file_version: int) -> str:
    """Return the name of the plugin with the registries in this format."""
    return _CRI_V2 if file_version == 2 else _IMAGES_V3


def render(conf: cfg.ConfigOpts,
           handlers: Mapping[base.Handler, base.Files],
           containerd_version: str) -> str:
    """Return a configuration file with a section for each handler.

    :raises InvalidInput: see :func:`sections`.
    """
    return tomli_w.dumps({
        'version': format_version(containerd_version),
        'plugins': sections(conf, handlers, containerd_version)})
