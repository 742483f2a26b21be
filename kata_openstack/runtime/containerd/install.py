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
"""Writes containerd's and Kata's configuration: planned, checked, undone."""

from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import copy
import dataclasses
import difflib
import glob
import json
import os
import pathlib
import subprocess
import tempfile
import time
from typing import Any

from oslo_config import cfg

from kata_openstack import exception
from kata_openstack.runtime.containerd import config
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import edit
from kata_openstack.runtime.containerd import errors
from kata_openstack.runtime.containerd import kata_config
from kata_openstack.runtime.containerd import mirrors
from kata_openstack.runtime.containerd import program
from kata_openstack.runtime.hypervisors import base

BACKUP = '.before-kata-openstack'
_UP = 60.0  # seconds for a restarted containerd


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One file; None: it is not there."""

    path: pathlib.Path
    before: str | None
    after: str | None

    def diff(self) -> str:
        return ''.join(difflib.unified_diff(
            (self.before or '').splitlines(keepends=True),
            (self.after or '').splitlines(keepends=True),
            str(self.path) if self.before is not None else '/dev/null',
            str(self.path) if self.after is not None else '/dev/null'))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """``changes`` in the order in which they are made; ``handlers`` are
    those that containerd has of us afterwards; ``kept``: what is left as
    somebody else made it, in words."""

    changes: Sequence[Change]
    handlers: Sequence[str]
    kept: Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """The containerd to configure: its files, its program, its version."""

    config: pathlib.Path
    own: pathlib.Path
    program: str = 'containerd'
    version: str = ''

    @property
    def conf_d(self) -> pathlib.Path | None:
        """What it reads without being told (since 2.2)."""
        number = self.version.removeprefix('v').split('.')
        return (pathlib.Path('/etc/containerd/conf.d')
                if (int(number[0]), int(number[1])) >= (2, 2) else None)


def plan(conf: cfg.ConfigOpts, target: Target,
         handlers: Mapping[base.Handler, base.Files],
         tunings: Mapping[base.Handler, dict[str, Any]]) -> Plan:
    """What has to be changed; nothing is. Asks the program containerd.

    :raises InvalidInput: the operator's file, or an option, is not usable.
    :raises RuntimeFailed: containerd cannot be asked.
    """
    record_path = pathlib.Path(conf.state_path) / 'containerd.json'
    record = _read_record(record_path)
    text = _read(target.config)
    document = edit.parse(text or '', target.config)
    bare = edit.without(document, record['handlers'], target.own,
                        record['registry'])
    bare = edit.with_version(bare, config.format_version(target.version))
    plain = _dumped(target, bare, None)
    theirs = edit.runtimes(plain)
    kept = [f'handler {h.name} of {target.config}' for h in handlers
            if h.name in theirs]
    ours = {h: f for h, f in handlers.items() if h.name not in theirs}

    named, files = kata_config.files(conf, ours, tunings)
    version = edit.file_version(bare)
    plugins = config.sections(conf, named, target.version, version)
    wanted = mirrors.parse_option(conf.containerd.registry_mirrors)
    folder = edit.registry_path(plain)
    registry = bool(wanted) and not folder
    if registry:
        folder = str(target.config.parent / 'certs.d')
        plugins.setdefault(config.images_plugin(version), {})['registry'] = {
            'config_path': folder}
    for path, content in mirrors.files(wanted, pathlib.Path(folder)).items():
        if (_read(path) or mirrors.MARK).startswith(mirrors.MARK):
            files[path] = content
        else:
            kept.append(str(path))

    names = [h.name for h in ours]
    edited, own = bare, None
    added: list[str] = []
    if names or registry:
        edited, own, added = _add(target, bare, plain, plugins, names,
                                  registry)
    in_main = own is None
    if own is not None:
        files[target.own] = own
    if edited.unwrap() != document.unwrap() or text is None:
        files[target.config] = edited.as_string()
    files[record_path] = json.dumps({
        'handlers': added if in_main else [],
        'registry': registry and in_main,
        'files': sorted(str(f) for f in files
                        if f not in (target.config, record_path))}) + '\n'
    changes = [Change(path=pathlib.Path(path), before=_read(
        pathlib.Path(path)), after=None) for path in record['files']
        if pathlib.Path(path) not in files]
    changes += [Change(path=path, before=_read(path), after=after)
                for path, after in files.items()]
    return Plan(changes=[c for c in changes if c.before != c.after],
                handlers=names, kept=kept)


def _add(target: Target, bare: Any, plain: Mapping[str, Any],
         plugins: dict[str, Any], names: Sequence[str], registry: bool,
         ) -> tuple[Any, str | None, list[str]]:
    """The first way that adds ours and changes nothing else.

    :returns: the operator's file, ours, if there is to be one, and the
        handlers that were added
    """
    version = edit.file_version(bare)
    plugin = config.runtime_plugin(version)
    whole = copy.deepcopy(plugins)
    # containerd has runc by default, as long as nothing else is named
    added = whole[plugin]['containerd']['runtimes'] | edit.runtimes(plain)
    whole[plugin]['containerd']['runtimes'] = added
    for tables in (plugins, whole):
        own = edit.own_text(tables, version)
        for document, content in (
                (edit.with_import(bare, target.own, target.conf_d), own),
                (edit.inline(bare, tables), None)):
            dump = _dumped(target, document, content)
            if (set(names) <= edit.runtimes(dump).keys()
                    and edit.is_base(plain, dump, names, registry)):
                return document, content, list(
                    tables[plugin]['containerd']['runtimes'])
    raise exception.RuntimeFailed(
        operation=f'Adding handlers to {target.config}',
        why='containerd would lose other settings; nothing was changed. '
            'Add the output of "kata-openstack containerd config" yourself')


def _dumped(target: Target, document: Any,
            own: str | None) -> dict[str, Any]:
    """What containerd makes of it; both files are tried under other names.

    They are beside the real one, because imports may be relative to it.
    """
    folder = next(p for p in target.config.parents if p.is_dir())
    trial = edit.parse(document.as_string(), target.config)
    imports = _imports(target, trial)
    with tempfile.TemporaryDirectory(prefix='kata-openstack-') as aside:
        if own is not None:
            own_trial = pathlib.Path(aside) / 'own.toml'
            own_trial.write_text(own)
            imports.append(str(own_trial))
        if imports or 'imports' in trial:
            trial['imports'] = imports
        with tempfile.NamedTemporaryFile(
                'w', dir=folder, prefix='.kata-openstack-',
                suffix='.toml') as file:
            file.write(trial.as_string())
            file.flush()
            return program.dump(pathlib.Path(file.name), target.program,
                                target.config)


def _imports(target: Target, document: Mapping[str, Any]) -> list[str]:
    """All that the operator's file imports, without our own file."""
    patterns = document.get('imports')
    if patterns is None:
        patterns = [f'{target.conf_d}/*.toml'] if target.conf_d else []
    found = []
    for pattern in patterns:
        path = str(target.config.parent / pattern)
        found += sorted(glob.glob(path)) if '*' in path else [path]
    return [path for path in found if path != str(target.own)]


def _read(path: pathlib.Path) -> str | None:
    """:raises InvalidInput: it is there, and not readable."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as e:
        raise exception.InvalidInput(
            field='file', value=str(path), why=e,
            remedy='Correct it; nothing was changed.') from e


def _read_record(path: pathlib.Path) -> dict[str, Any]:
    """What is ours from the last time."""
    record = {'handlers': [], 'registry': False, 'files': []}
    try:
        return {**record, **json.loads(_read(path) or '{}')}
    except (ValueError, TypeError) as e:
        raise exception.InvalidInput(
            field='file', value=str(path), why=e,
            remedy='Remove it, and what was added to the configuration of '
                   'containerd.') from e


def apply(changes: Sequence[Change], target: Target) -> None:
    """Make them; on an error none is made.

    The operator's file is kept beside itself, as it was before.

    :raises RuntimeFailed:
    """
    done: list[Change] = []
    try:
        for change in changes:
            if change.path == target.config and change.before is not None:
                _write(target.config.with_name(
                    target.config.name + BACKUP), change.before,
                    target.config)
            done.append(change)
            _make(change.path, change.after)
    except OSError as e:
        undo(done)
        raise exception.RuntimeFailed(
            operation='Writing the configuration', why=e) from e


def undo(changes: Sequence[Change]) -> None:
    for change in reversed(changes):
        with contextlib.suppress(OSError):
            _make(change.path, change.before)


def _make(path: pathlib.Path, content: str | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    else:
        _write(path, content, path)


def _write(path: pathlib.Path, content: str, like: pathlib.Path) -> None:
    """In one step, with mode and owner of ``like``: it may hold secrets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile('w', dir=path.parent, delete=False,
                                     prefix=f'.{path.name}') as file:
        file.write(content)
    try:
        old = like.stat()
        os.chown(file.name, old.st_uid, old.st_gid)
        os.chmod(file.name, old.st_mode & 0o7777)
    except FileNotFoundError:
        os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def restart(conf: cfg.ConfigOpts, command: Sequence[str],
            handlers: Sequence[str]) -> None:
    """Restart containerd and wait until it has the handlers.

    :raises RuntimeFailed: it does not come up, or without them.
    """
    operation = f'Restarting containerd with "{" ".join(command)}"'
    try:
        done = subprocess.run(command, capture_output=True, text=True,
                              timeout=_UP)
    except (OSError, subprocess.SubprocessError) as e:
        raise exception.RuntimeFailed(operation=operation, why=e) from e
    if done.returncode:
        raise exception.RuntimeFailed(
            operation=operation, why=errors.one_line(
                done.stderr or f'it ended with {done.returncode}'))
    client = cri.CriClient(conf)
    deadline = time.monotonic() + _UP
    try:
        while True:
            try:
                missing = set(handlers) - client.handlers()
                why = f'it has no {", ".join(sorted(missing))}'
            except exception.KataError as e:
                missing, why = {''}, str(e)
            if not missing:
                return
            if time.monotonic() > deadline:
                raise exception.RuntimeFailed(operation=operation, why=why)
            time.sleep(0.2)
    finally:
        client.close()
