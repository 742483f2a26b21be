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

"""The handlers of upstream Kata that are installed, and their files."""

import dataclasses
import pathlib
import tomllib
from typing import Any

from kata_openstack.runtime.host import facts
from kata_openstack.runtime.host import roots as host_roots
from kata_openstack.runtime.host import versions

# Paths in Kata's release archives (source: kata-deploy of Kata 4.1,
# utils/system.rs). kata-deploy also creates a folder for each shim, with the
# operator's drop-ins, in runtimes/ below the configuration's; that one takes
# precedence.
_GO_SHIM = 'bin/containerd-shim-kata-v2'
_RUST_SHIM = 'runtime-rs/bin/containerd-shim-kata-v2'
_GO_CONFIG = 'share/defaults/kata-containers'
_RUST_CONFIG = 'share/defaults/kata-containers/runtime-rs'

# Keys of [hypervisor.<name>] that name a file.
_FILES = {'path': 'hypervisor', 'kernel': 'kernel', 'image': 'image',
          'initrd': 'initrd', 'virtio_fs_daemon': 'virtiofsd'}


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = (_merge(old, value) if isinstance(old, dict)
                       and isinstance(value, dict) else value)
    return merged


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _parse(roots: host_roots.Roots, path: pathlib.Path) -> dict[str, Any]:
    """:raises ValueError: why the file cannot be used, in one line."""
    text = roots.read(path)
    complaint = f'{path} cannot be read'
    for line in roots.unreadable:
        if line.startswith(complaint):
            raise ValueError(line)
    if '\N{REPLACEMENT CHARACTER}' in text:  # put there by roots.read
        raise ValueError(f'{path} is not UTF-8')
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ValueError(f'{path} is not TOML: {e}') from e


def _configuration(roots: host_roots.Roots,
                   path: pathlib.Path) -> tuple[dict[str, Any], str]:
    """Return the file merged with its drop-ins, and the problem, or ''."""
    folder = path.with_name('config.d')
    drop_ins = [folder / name for name in roots.names(folder)
                if name.endswith('.toml')]
    try:
        content = _parse(roots, path)
        if not content:
            return {}, f'{path} is empty'
        for file in drop_ins:
            content = _merge(content, _parse(roots, file))
    except ValueError as e:
        return {}, str(e)
    return content, ''


def _missing(files: dict[str, pathlib.Path]) -> list[str]:
    """Return the files that do not exist, or cannot be checked, in words."""
    missing = []
    for name, file in files.items():
        try:
            if not file.is_file():
                missing.append(f'{name} {file}')
        except OSError as e:
            # omit the path: it may be too long, which is then the error
            words = (e.strerror or str(e)).lower()
            missing.append(f'{name} ({words})')
    return missing


def _shim(roots: host_roots.Roots, runtime: str, runtime_path: pathlib.Path,
          path: pathlib.Path) -> facts.KataShim:
    content, problem = _configuration(roots, path)
    tables = _table(content.get('hypervisor'))
    table = next((name for name in tables if _table(tables[name])), '')
    hypervisor = _table(tables.get(table))
    found = {name: pathlib.Path(value) for key, name in _FILES.items()
             if isinstance(value := hypervisor.get(key), str) and value}
    if hypervisor.get('shared_fs') in ('none', 'inline-virtio-fs'):
        found.pop('virtiofsd', None)  # named, but never started
    missing = _missing(found)
    if missing and not problem:
        problem = f'{path} names files that do not exist: {", ".join(missing)}'
    static = _table(content.get('runtime')).get(
        'static_sandbox_resource_mgmt')
    return facts.KataShim(
        name=path.stem.removeprefix('configuration-'), runtime=runtime,
        runtime_path=runtime_path, config_path=path, table=table,
        files=found, problem=problem,
        shared_fs=str(hypervisor.get('shared_fs', '')),
        static_sizing=static if isinstance(static, bool) else None,
        # the Go runtime has it at the top, runtime-rs below the hypervisor
        template=any(_table(where.get('factory')).get('enable_template')
                     is True for where in (content, hypervisor)))


def _folder(roots: host_roots.Roots, runtime: str, config: str,
            shim: str) -> dict[str, facts.KataShim]:
    runtime_path = roots.kata / shim
    if not runtime_path.is_file():
        return {}
    folder = roots.kata / config
    files = (*sorted(folder.glob('configuration-*.toml')),
             *sorted(folder.glob('runtimes/*/configuration-*.toml')))
    shims = (_shim(roots, runtime, runtime_path, path) for path in files)
    return {shim.name: shim for shim in shims}


def check(roots: host_roots.Roots,
          known: versions.Known) -> tuple[facts.KataShim, ...]:
    """Return the installed handlers, sorted by name.

    A handler is installed if its shim and its configuration exist. An
    unreadable folder counts as empty. A handler whose configuration is
    empty, unreadable or malformed, or names files that do not exist, has a
    ``problem``.

    :param known: see :func:`.versions.check`.
    """
    found: dict[str, facts.KataShim] = {}
    for runtime, config, shim in (('go', _GO_CONFIG, _GO_SHIM),
                                  ('rust', _RUST_CONFIG, _RUST_SHIM)):
        try:
            found.update(_folder(roots, runtime, config, shim))
        except OSError as e:
            roots.note(pathlib.Path(e.filename or roots.kata), e)
    programs = [s.runtime_path for s in found.values()]
    programs += [s.files['hypervisor'] for s in found.values()
                 if 'hypervisor' in s.files]
    told = versions.check(programs, known)
    return tuple(dataclasses.replace(
        s, version=told[str(s.runtime_path)],
        hypervisor_version=told.get(str(s.files.get('hypervisor')), ''))
        for _, s in sorted(found.items()))
