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

"""Test images, made without a container tool or a registry."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import hashlib
import io
import json
import pathlib
import re
import stat
import subprocess
import tarfile

BUSYBOX = 'registry.test/kata-openstack/busybox:1'
PAUSE = 'registry.test/kata-openstack/pause:1'

# name, content (bytes: file, str: symlink target, None: folder, or a FIFO if
# the mode says so), mode
Entry = tuple[str, bytes | str | None, int]


def busybox_entries() -> list[Entry]:
    """A minimal root file system with Debian's busybox-static."""
    program = '/bin/busybox'
    applets = subprocess.run([program, '--list'], capture_output=True,
                             text=True, check=True).stdout.split()
    folders = ('bin', 'dev', 'etc', 'proc', 'root', 'sys', 'tmp', 'usr',
               'usr/bin', 'var')
    return [
        *((name, None, 0o755) for name in folders),
        ('bin/busybox', pathlib.Path(program).read_bytes(), 0o755),
        *((f'bin/{name}', 'busybox', 0o777) for name in applets
          if name != 'busybox'),
        ('etc/passwd', b'root:x:0:0:root:/root:/bin/sh\n', 0o644),
        ('etc/group', b'root:x:0:\n', 0o644),
    ]


def redis_entries() -> list[Entry]:
    """Redis of Debian's redis-tools, whose programs are one file, in /usr/bin.

    Nothing of it runs on this machine.
    """
    programs = ('/usr/bin/redis-check-rdb', '/usr/bin/redis-cli')
    libraries = subprocess.run(['ldd', *programs], capture_output=True,
                               text=True, check=True).stdout
    files = {*programs, *re.findall(r'(/\S+) \(0x', libraries)}
    return [
        *busybox_entries(),
        *((path[1:], pathlib.Path(path).read_bytes(), 0o755)
          for path in sorted(files)),
        # it is the server if its name is
        ('usr/bin/redis-server', 'redis-check-rdb', 0o777),
    ]


def _tar(entries: Iterable[Entry],
         owners: Mapping[str, int] | None = None) -> bytes:
    owners = owners or {}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as archive:
        for name, content, mode in entries:
            info = tarfile.TarInfo(name)
            info.mode = mode
            info.uid = info.gid = owners.get(name, 0)
            if stat.S_ISFIFO(mode):
                info.type = tarfile.FIFOTYPE
                archive.addfile(info)
            elif content is None:
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            elif isinstance(content, str):
                info.type = tarfile.SYMTYPE
                info.linkname = content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def write(path: pathlib.Path, reference: str, entries: Iterable[Entry],
          command: Sequence[str], entrypoint: Sequence[str] = (),
          env: Sequence[str] = ('PATH=/bin:/usr/bin',),
          labels: Mapping[str, str] | None = None,
          more: Iterable[Iterable[Entry]] = (), volumes: Iterable[str] = (),
          user: str = '', owners: Mapping[str, int] | None = None,
          stop_signal: str = '') -> None:
    """Write a docker-archive.

    :param more: entries of further layers.
    :param owners: user and group of entries, by name; root has the others.
    """
    layers = {hashlib.sha256(layer).hexdigest(): layer
              for layer in (_tar(e, owners) for e in (entries, *more))}
    config = json.dumps({
        'architecture': 'amd64', 'os': 'linux',
        'created': '1970-01-01T00:00:00Z',
        'config': {'Env': list(env), 'Cmd': list(command),
                   'Entrypoint': list(entrypoint),
                   'User': user, 'StopSignal': stop_signal,
                   'Volumes': dict.fromkeys(volumes, {}),
                   'Labels': dict(labels or {})},
        'rootfs': {'type': 'layers',
                   'diff_ids': [f'sha256:{digest}' for digest in layers]},
        'history': [{'created': '1970-01-01T00:00:00Z'}] * len(layers),
    }).encode()
    config_name = f'{hashlib.sha256(config).hexdigest()}.json'
    manifest = json.dumps([{
        'Config': config_name, 'RepoTags': [reference],
        'Layers': [f'{digest}/layer.tar' for digest in layers]}]).encode()
    path.write_bytes(_tar([
        (config_name, config, 0o644),
        *((f'{digest}/layer.tar', layer, 0o644)
          for digest, layer in layers.items()),
        ('manifest.json', manifest, 0o644)]))


def write_busybox(path: pathlib.Path, reference: str = BUSYBOX) -> None:
    write(path, reference, busybox_entries(), command=['sh'])


def write_pause(path: pathlib.Path, reference: str = PAUSE) -> None:
    """Write the sandbox image: a process that sleeps forever."""
    write(path, reference, busybox_entries(), command=[],
          entrypoint=['/bin/busybox', 'sleep', 'infinity'])
