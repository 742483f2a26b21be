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
"""Edits containerd's configuration without changing the operator's settings.

There are two ways to add handlers. The better one is a file of our own that
the operator's file imports. But before about 2.1, containerd does not merge
the section of a plugin in an imported file with the one in the main file: the
imported section replaces it. In that case our tables go into the operator's
file. To find out, the caller runs containerd and does not rely on its version.
"""

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
import copy
import fnmatch
import os
import pathlib
from typing import Any

import tomli_w
import tomlkit
from tomlkit import exceptions as tomlkit_exceptions
from tomlkit import items

from kata_openstack import exception
from kata_openstack.runtime.containerd import config

Tables = dict[str, Any]

MARK = ('# Written by "kata-openstack containerd configure", which replaces '
        'it.\n')


def parse(text: str, path: pathlib.Path) -> tomlkit.TOMLDocument:
    """Parse a configuration file of containerd.

    :raises InvalidInput: it is not TOML, has a wrong type, or is too old.
    """
    try:
        document = tomlkit.parse(text)
    except tomlkit_exceptions.ParseError as e:
        raise exception.InvalidInput(
            field="containerd's configuration", value=str(path), why=e,
            remedy='Correct the file. Nothing was changed.') from e
    wrong = _wrong_type(document)
    if wrong:
        raise exception.InvalidInput(
            field="containerd's configuration", value=str(path), why=wrong,
            remedy='Correct the file. Nothing was changed.')
    if document.get('plugins') and file_version(document) < 2:
        raise exception.InvalidInput(
            field="containerd's configuration", value=str(path),
            why='its format is version 1',
            remedy='Convert it to version 2 or later: containerd config '
                   'migrate.')
    return document


def _wrong_type(document: Mapping[str, Any]) -> str:
    """Return the first value with a wrong type, in words, or ''.

    Only values that our tables go into are checked. containerd itself checks
    types only for the plugins that it has.
    """
    imports = document.get('imports', [])
    if not isinstance(imports, list) or not all(
            isinstance(pattern, str) for pattern in imports):
        return 'imports is not a list of strings'
    for version in (2, 3):
        for path in (*_handler_tables(version), _registry_table(version)):
            table: Any = document
            for depth, key in enumerate(path, 1):
                table = table.get(key, {})
                if not isinstance(table, dict):
                    return f'{_dotted(path[:depth])} is not a table'
    return ''


def _handler_tables(version: int) -> tuple[tuple[str, ...], ...]:
    """Return the paths of the tables that have a key for each handler."""
    return (
        ('plugins', config.runtime_plugin(version), 'containerd', 'runtimes'),
        ('plugins', config.images_plugin(version), 'runtime_platforms'))


def _registry_table(version: int) -> tuple[str, ...]:
    return ('plugins', config.images_plugin(version), 'registry')


def _dotted(path: Sequence[str]) -> str:
    return tomlkit.key(path).as_string()


def file_version(document: Mapping[str, Any]) -> int:
    """Return the format; 1 without ``version``, 3 for 3 and later."""
    version = document.get('version', 1)
    return min(version, 3) if isinstance(version, int) else 1


def with_version(document: tomlkit.TOMLDocument,
                 version: int) -> tomlkit.TOMLDocument:
    """Return the document with ``version`` set, if it has none."""
    if 'version' in document:
        return document
    return tomlkit.parse(f'version = {version}\n' + document.as_string())


def without(document: tomlkit.TOMLDocument, handlers: Collection[str],
            own: Collection[pathlib.Path], registry: bool,
            ) -> tomlkit.TOMLDocument:
    """Return a copy of the operator's file without our additions.

    :param handlers: the handlers in the file that are ours.
    :param own: our files, which it may import.
    :param registry: whether the registries' config_path is ours.
    """
    stripped = copy.deepcopy(document)
    for file in sorted(map(str, own)):
        if file in (stripped.get('imports') or ()):
            stripped['imports'].remove(file)
            if not stripped['imports']:
                del stripped['imports']
    for version in (2, 3):
        for path in _handler_tables(version):
            for name in handlers:
                _remove(stripped, (*path, name))
        if registry:
            _remove(stripped, (*_registry_table(version), 'config_path'))
    return stripped


def _remove(table: Any, path: tuple[str, ...]) -> None:
    """Remove a value and the tables that become empty."""
    if path[0] not in table:
        return
    if len(path) > 1:
        _remove(table[path[0]], path[1:])
        if table[path[0]]:
            return
    del table[path[0]]


def with_import(document: tomlkit.TOMLDocument, own: pathlib.Path,
                conf_d: pathlib.Path | None) -> tomlkit.TOMLDocument:
    """Return the operator's file with an import of ``own``, if needed.

    :param conf_d: the folder that this containerd imports by default, as
        long as the file has no ``imports``; None if it imports none.
    """
    edited = copy.deepcopy(document)
    imports = edited.get('imports')
    if imports is None:
        if own.parent == conf_d:
            return edited
        edited['imports'] = [str(own)]
    elif not any(fnmatch.fnmatch(str(own), pattern) for pattern in imports):
        imports.append(str(own))
    return edited


def inline(document: tomlkit.TOMLDocument,
           plugins: Tables) -> tomlkit.TOMLDocument:
    """Return the operator's file with our tables in it."""
    edited = copy.deepcopy(document)
    _merge(edited, {'plugins': plugins})
    return edited


def inline_table(document: tomlkit.TOMLDocument, plugins: Tables) -> str:
    """Return the path of the inline table in which ours would be, or ''."""
    return _inline_table(document, {'plugins': plugins}, ())


def _inline_table(table: Any, ours: Tables, path: tuple[str, ...]) -> str:
    inner = {k: v for k, v in ours.items() if isinstance(v, dict)}
    if inner and isinstance(table, items.InlineTable):
        return _dotted(path)
    found = (_inline_table(table[key], value, (*path, key))
             for key, value in inner.items() if key in table)
    return next(filter(None, found), '')


def _merge(table: Any, ours: Tables) -> None:
    for key, value in ours.items():
        if isinstance(value, dict) and key in table:
            _merge(table[key], value)
        else:
            table[key] = _item(value)


def _item(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    made = tomlkit.table(is_super_table=bool(value) and all(
        isinstance(v, dict) for v in value.values()))
    for key, inner in value.items():
        made[key] = _item(inner)
    return made


def own_text(plugins: Tables, version: int) -> str:
    return MARK + tomli_w.dumps({'version': version, 'plugins': plugins})


def runtimes(dump: Mapping[str, Any]) -> Tables:
    """Return the handlers in a dump of containerd, in either format."""
    found: Tables = {}
    for version in (2, 3):
        plugin = (dump.get('plugins') or {}).get(
            config.runtime_plugin(version)) or {}
        found |= (plugin.get('containerd') or {}).get('runtimes') or {}
    return found


def registry_path(dump: Mapping[str, Any]) -> str:
    """Return the folder of the registries' hosts.toml files, or ''.

    config_path may hold several folders, separated by colons; this is the
    first one.
    """
    plugins = dump.get('plugins') or {}
    for version in (3, 2):
        registry = (plugins.get(config.images_plugin(version)) or {}).get(
            'registry') or {}
        if registry.get('config_path'):
            return registry['config_path'].split(os.pathsep)[0]
    return ''


def is_base(base: Mapping[str, Any], dump: Mapping[str, Any],
            ours: Collection[str], registry: bool) -> bool:
    """Return whether ``dump`` is ``base`` with only our additions.

    :param ours: the handlers that were added.
    :param registry: whether the registries' config_path was added.
    """
    return (_pruned(base, (), registry)
            == _pruned(dump, ours, registry))


def _pruned(dump: Mapping[str, Any], ours: Collection[str],
            registry: bool) -> Tables:
    """Return ``dump`` without our additions, imports and empty tables."""
    left = copy.deepcopy(dict(dump))
    left.pop('imports', None)
    for version in (2, 3):
        for path in _handler_tables(version):
            for name in ours:
                _remove(left, (*path, name))
        if registry:
            _remove(left, (*_registry_table(version), 'config_path'))
    return _without_empty(left)


def _without_empty(table: Tables) -> Tables:
    cleaned = {key: _without_empty(value) if isinstance(value, dict)
               else value for key, value in table.items()}
    return {key: value for key, value in cleaned.items() if value != {}}
