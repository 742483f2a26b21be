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
"""Plans changes of containerd's configuration, and restarts containerd."""

from collections.abc import Mapping
from collections.abc import Sequence
import copy
import dataclasses
import glob
import json
import pathlib
import subprocess
import tempfile
import time
from typing import Any

from oslo_config import cfg

from kata_openstack import exception
from kata_openstack.runtime.containerd import binary
from kata_openstack.runtime.containerd import config
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import edit
from kata_openstack.runtime.containerd import file_changes
from kata_openstack.runtime.containerd import grpc_errors
from kata_openstack.runtime.containerd import kata_config
from kata_openstack.runtime.containerd import mirrors
from kata_openstack.runtime.hypervisors import base
from kata_openstack import stored

_UP = 60.0  # seconds for a restart of containerd


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The changes to make, in this order, and their result.

    ``handlers``: our handlers that containerd has afterwards. ``theirs``:
    handlers with our names that the operator configured. ``kept``: the
    operator's settings and files that are not changed, in words.
    """

    changes: Sequence[file_changes.Change]
    handlers: Sequence[str]
    theirs: Sequence[str]
    kept: Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Record:
    """What the last run added to containerd's configuration.

    ``handlers`` and ``registry`` are those in the operator's file. ``files``
    are our own.
    """

    handlers: list[str] = dataclasses.field(default_factory=list)
    registry: bool = False
    files: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """The containerd to configure: its files, its program, its version.

    ``own`` is our file. ``former`` are our files of earlier runs.
    """

    config: pathlib.Path
    own: pathlib.Path
    former: frozenset[pathlib.Path] = frozenset()
    program: str = 'containerd'
    version: str = ''

    @property
    def conf_d(self) -> pathlib.Path | None:
        """The folder that containerd imports by default since 2.2."""
        number = self.version.removeprefix('v').split('.')
        return (pathlib.Path('/etc/containerd/conf.d')
                if (int(number[0]), int(number[1])) >= (2, 2) else None)


def plan(conf: cfg.ConfigOpts, target: Target,
         handlers: Mapping[base.Handler, base.Files],
         tunings: Mapping[base.Handler, dict[str, Any]]) -> Plan:
    """Plan the changes without making them; runs the program containerd.

    :raises InvalidInput: the operator's file or an option is invalid.
    :raises RuntimeFailed: containerd cannot run, or its other settings would
        be lost.
    """
    record_path = pathlib.Path(conf.state_path) / 'containerd.json'
    record = _read_record(record_path)
    text = _read(target.config)
    document = edit.parse(text or '', target.config)
    target = dataclasses.replace(target, former=_former(record))
    bare = edit.without(document, record.handlers,
                        {target.own, *target.former}, record.registry)
    original = bare.unwrap() == document.unwrap()
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

    names = [h.name for h in named]
    edited, own = bare, None
    if names or registry:
        edited, own = _add(target, bare, plain, plugins, names, registry)
    in_main = own is None
    if own is not None:
        files[target.own] = own
    if edited.unwrap() != document.unwrap() or text is None:
        files[target.config] = edited.as_string()
    files[record_path] = json.dumps(dataclasses.asdict(_Record(
        handlers=names if in_main else [], registry=registry and in_main,
        files=sorted(str(f) for f in files
                     if f not in (target.config, record_path))))) + '\n'
    changes = []
    for path in map(pathlib.Path, record.files):
        before = _read(path)
        if path in files or before is None:
            continue
        if _is_ours(conf, path, before):
            changes.append(file_changes.Change(
                path=path, before=before, after=None))
        elif str(path) not in kept:
            kept.append(str(path))
    changes += [file_changes.Change(
                    path=path, before=_read(path), after=after,
                    original=original and path == target.config)
                for path, after in files.items()]
    return Plan(changes=[c for c in changes if c.before != c.after],
                handlers=names, kept=kept,
                theirs=[h.name for h in handlers if h.name in theirs])


def _former(record: _Record) -> frozenset[pathlib.Path]:
    """Return our files of earlier runs that the operator did not replace."""
    return frozenset(
        path for path in map(pathlib.Path, record.files)
        if (_read(path) or edit.MARK).startswith(edit.MARK))


def _is_ours(conf: cfg.ConfigOpts, path: pathlib.Path, text: str) -> bool:
    """Return whether a file that we wrote is still ours."""
    return (path.is_relative_to(kata_config.folder(conf))
            or text.startswith((edit.MARK, mirrors.MARK)))


def _add(target: Target, bare: Any, plain: Mapping[str, Any],
         plugins: dict[str, Any], names: Sequence[str], registry: bool,
         ) -> tuple[Any, str | None]:
    """Add our tables in the first way that changes nothing else.

    :returns: the operator's file, and ours or None
    :raises InvalidInput: an inline table prevents it.
    :raises RuntimeFailed: there is no such way.
    """
    version = edit.file_version(bare)
    plugin = config.runtime_plugin(version)
    whole = copy.deepcopy(plugins)
    # containerd has the handler runc by default, but only as long as no
    # handler is configured. So a second try also adds the present handlers;
    # in the operator's file, runc then counts as the operator's.
    whole[plugin]['containerd']['runtimes'] |= edit.runtimes(plain)
    for tables in (plugins, whole):
        own = edit.own_text(tables, version)
        ways: list[tuple[Any, str | None]] = [
            (edit.with_import(bare, target.own, target.conf_d), own)]
        in_the_way = edit.inline_table(bare, tables)
        if not in_the_way:
            ways.append((edit.inline(bare, tables), None))
        for document, content in ways:
            dump = _dumped(target, document, content)
            if (set(names) <= edit.runtimes(dump).keys()
                    and edit.is_base(plain, dump, names, registry)):
                return document, content
    if in_the_way:
        raise exception.InvalidInput(
            field="containerd's configuration", value=str(target.config),
            why=f'{in_the_way} is an inline table, to which no table can be '
                'added',
            remedy=f'Write it as a section with the header [{in_the_way}]. '
                   'Nothing was changed.')
    raise exception.RuntimeFailed(
        operation=f'Adding handlers to {target.config}',
        why='containerd would lose other settings. Nothing was changed. '
            'Add the output of "kata-openstack containerd show" to the '
            'file yourself')


def _dumped(target: Target, document: Any,
            own: str | None) -> dict[str, Any]:
    """Return the configuration as containerd reads it, from temporary files.

    The copy of the operator's file is in the same folder, because its
    imports may be relative to it.
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
            return binary.dump(pathlib.Path(file.name), target.program,
                                target.config)


def _imports(target: Target, document: Mapping[str, Any]) -> list[str]:
    """Return the files that the operator's file imports, without ours."""
    patterns = document.get('imports')
    if patterns is None:
        patterns = [f'{target.conf_d}/*.toml'] if target.conf_d else []
    found = []
    for pattern in patterns:
        path = str(target.config.parent / pattern)
        found += sorted(glob.glob(path)) if '*' in path else [path]
    ours = {str(path) for path in (target.own, *target.former)}
    return [path for path in found if path not in ours]


def _read(path: pathlib.Path) -> str | None:
    """Return the text of a file; None if it does not exist.

    :raises InvalidInput: it exists but cannot be read.
    """
    try:
        return file_changes.read(path)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as e:
        raise exception.InvalidInput(
            field='file', value=str(path), why=e,
            remedy='Correct the file or its permissions. Nothing was '
                   'changed.') from e


def _read_record(path: pathlib.Path) -> _Record:
    try:
        return stored.load(_Record, json.loads(_read(path) or '{}'))
    except ValueError as e:
        raise exception.InvalidInput(
            field='file', value=str(path), why=e,
            remedy='Remove the file, and remove the handlers of '
                   'kata-openstack from the configuration of containerd. '
                   'Then run the command again.') from e


def restart(conf: cfg.ConfigOpts, command: Sequence[str],
            handlers: Sequence[str]) -> None:
    """Restart containerd and wait until it has the handlers.

    :raises RuntimeFailed: it does not start, or lacks some of the handlers.
    """
    operation = f'Restarting containerd with "{" ".join(command)}"'
    try:
        done = subprocess.run(command, capture_output=True, text=True,
                              timeout=_UP)
    except (OSError, subprocess.SubprocessError) as e:
        raise exception.RuntimeFailed(operation=operation, why=e) from e
    if done.returncode:
        raise exception.RuntimeFailed(
            operation=operation, why=grpc_errors.one_line(
                done.stderr or f'exit code {done.returncode}'))
    client = cri.CriClient(conf)
    deadline = time.monotonic() + _UP
    try:
        while True:
            try:
                missing = set(handlers) - client.handlers()
                why = f'it has no handler {", ".join(sorted(missing))}'
            except exception.KataError as e:
                missing, why = {''}, str(e)
            if not missing:
                return
            if time.monotonic() > deadline:
                raise exception.RuntimeFailed(operation=operation, why=why)
            time.sleep(0.2)
    finally:
        client.close()
