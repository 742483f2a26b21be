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

"""The commands of the shim's program: ``start``, ``delete`` and ``-info``.

containerd runs it in the bundle folder, with ``-namespace``, ``-address``,
``-id`` and the command (runtime/v2/README.md of containerd). ``start``
prints the address of the daemon that serves the container: a new daemon for
a sandbox, the sandbox's daemon for a container of a pod. Only a sandbox
needs other modules, so they are imported only for a sandbox.
"""

import json
import os
import sys

from kata_openstack.runtime.embedded.shim.oci import grouping
from kata_openstack.runtime.embedded.shim import start_failed

NAME = 'io.containerd.kata-embedded.v2'
ADDRESS = 'address'  # file in the bundle; containerd reads it too
# What the runtime has next to the sandboxes' folders, and the owner of the
# memory for making a template. A sandbox of that name would remove them.
_RESERVED = frozenset(('lock', 'memory', 's', 'template', 'template.lock',
                       'users'))


def start(namespace: str, ident: str, debug: bool) -> None:
    """Print the address of the container's daemon; start it for a sandbox.

    :raises StartFailed: with the cause.
    :raises OSError: the bundle cannot be read or written.
    """
    with open('config.json') as file:
        config = json.load(file)
    owner = grouping.sandbox_of(config, ident)
    if owner == ident:
        # OpenSSL is slow to load; hashlib and asyncio work without it
        for name in ('_hashlib', 'ssl'):
            sys.modules[name] = None  # type: ignore[assignment]
        from kata_openstack.runtime.embedded.shim import bootstrap
        address = bootstrap.start(namespace, ident, debug, config)
    else:
        try:
            with open(f'../{owner}/{ADDRESS}') as file:
                address = file.read()
        except OSError as e:
            raise start_failed.StartFailed(
                f'sandbox {owner} does not exist: {e}') from e
    with open(ADDRESS, 'w') as file:
        file.write(address)
    sys.stdout.write(address)


def delete(namespace: str, ident: str, bundle: str) -> None:
    """Clean up after a lost shim, and print the exit status of the task.

    A container of a pod needs no clean-up: its sandbox's removes all.
    """
    try:
        with open(f'{bundle}/config.json') as file:
            config = json.load(file)
    except (OSError, ValueError):
        config = {}
    if grouping.sandbox_of(config, ident) == ident:
        from kata_openstack.runtime.embedded.shim import bootstrap
        bootstrap.delete(namespace, ident, bundle, config)
    import time

    from kata_openstack.runtime.embedded.shim.wire import messages
    sys.stdout.buffer.write(messages.DELETED.encode({
        'exit_status': 137, 'exited_at': messages.timestamp(time.time())}))


def info() -> None:
    """Print what containerd 2 and its clients ask: who this runtime is.

    The features are what an OCI config may use, see OCI's features.md. They
    list only what others decide by: containerd takes recursive read-only
    mounts and user namespaces as unsupported if they are not in the list.
    """
    from kata_openstack.runtime.embedded.shim.wire import messages
    from kata_openstack.runtime.embedded.shim.wire import protobuf
    from kata_openstack import version
    try:
        options = messages.ANY.decode(
            b'' if sys.stdin.isatty() else sys.stdin.buffer.read())
    except protobuf.DecodeError:
        options = {}
    features = {
        'ociVersionMin': '1.0.0', 'ociVersionMax': '1.2.0',
        'mountOptions': ['bind', 'noexec', 'nodev', 'nosuid', 'private',
                         'rbind', 'ro', 'rprivate', 'rro', 'rw'],
        'linux': {'namespaces': ['cgroup', 'ipc', 'mount', 'network', 'pid',
                                 'uts'],
                  'apparmor': {'enabled': False},
                  'selinux': {'enabled': False},
                  'intelRdt': {'enabled': False},
                  'mountExtensions': {'idmap': {'enabled': False}}}}
    sys.stdout.buffer.write(messages.INFO.encode({
        'name': NAME, 'version': {'version': version.version()},
        'options': options if options.get('type_url') else None,
        'features': {'type_url': messages.FEATURES_TYPE,
                     'value': json.dumps(features).encode()}}))


def problem(ident: str) -> str:
    """Return why an ID cannot be the name of a sandbox's folder; '' if not."""
    if ident in _RESERVED:
        return (f'the ID {ident!r} is a name that kata-embedded itself uses; '
                'choose another')
    if not ident or ident in ('.', '..') or os.sep in ident:
        return (f'invalid or missing -id {ident!r}; containerd runs this '
                'program with -id, -namespace, and start or delete')
    return ''
