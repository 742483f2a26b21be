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
"""Upstream Kata's configuration, tuned to this host.

Upstream reads the folder ``config.d`` beside the file in ConfigPath. In its
release many handlers share one folder, where a drop-in for one handler would
give all others a second hypervisor. So each handler gets a folder of ours,
with copies of upstream's file and the operator's drop-ins, and our drop-in.
The first line of a copy tells of which file and content it is one: a new
release of Kata changes its own file, and only that.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import hashlib
import logging
import pathlib
import re
import tomllib
from typing import Any

from oslo_config import cfg
import tomli_w

from kata_openstack.runtime.hypervisors import base

LOG = logging.getLogger(__name__)

# Drop-ins are read in the order of their names. Those of the operator with a
# later name override ours.
_DROP_IN = '50-kata-openstack.toml'
_HEAD = re.compile('# kata-openstack copied (.+), sha256 ([0-9a-f]{64})\n')


def folder(conf: cfg.ConfigOpts) -> pathlib.Path:
    """Return the folder of all these files; the operator has none in it."""
    return pathlib.Path(conf.state_path).absolute() / 'kata'


def files(conf: cfg.ConfigOpts, handlers: Mapping[base.Handler, base.Files],
          tunings: Mapping[base.Handler, dict[str, Any]],
          ) -> tuple[dict[base.Handler, base.Files], dict[pathlib.Path, str]]:
    """Return the files for containerd's configuration, and those to write.

    A handler without settings for this host keeps its file. A handler whose
    files cannot be read is omitted, and an error is logged.
    """
    named: dict[base.Handler, base.Files] = {}
    written: dict[pathlib.Path, str] = {}
    for handler, found in handlers.items():
        tuning = tunings.get(handler)
        if not tuning:
            named[handler] = found
            continue
        own = folder(conf) / handler.shim
        copies = _copies(handler, found.config_path, own)
        if copies is None:
            continue
        written |= copies
        written[own / 'config.d' / _DROP_IN] = tomli_w.dumps(
            _patient(tuning, copies.values()))
        named[handler] = base.Files(
            runtime_path=found.runtime_path,
            config_path=own / found.config_path.name)
    return named, written


def _patient(tuning: dict[str, Any], texts: Iterable[str]
             ) -> dict[str, Any]:
    """Return our settings, with no time-out that is shorter than the files'.

    Upstream gives guests with a GPU 20 minutes.

    :param texts: of upstream's file and the drop-ins, in their order
    """
    ours = tuning.get('agent', {}).get('kata')
    if not ours:
        return tuning
    longest = dict(ours)
    theirs: dict[str, Any] = {}
    for text in texts:
        try:
            theirs |= tomllib.loads(text)['agent']['kata']
        except (ValueError, LookupError, TypeError):  # none in this file
            continue
    for key, value in theirs.items():
        if key in ours and isinstance(value, int):
            longest[key] = max(ours[key], value)
    return {**tuning, 'agent': {'kata': longest}}


def _copies(handler: base.Handler, path: pathlib.Path,
            own: pathlib.Path) -> dict[pathlib.Path, str] | None:
    """Return upstream's file and the operator's drop-ins.

    None if one of them cannot be read: without it, the handler would not do
    as the operator configured.
    """
    drop_ins = sorted(path.parent.glob('config.d/*.toml'))
    copies = {}
    for file, copy in ((path, own / path.name), *(
            (drop_in, own / 'config.d' / drop_in.name)
            for drop_in in drop_ins)):
        try:
            text = file.read_text()
        except (OSError, UnicodeDecodeError) as e:
            LOG.error('Handler %s is not configured, because %s cannot be '
                      'read: %s', handler.name, file, e)
            return None
        copies[copy] = (f'# kata-openstack copied {file}, sha256 '
                        f'{_digest(text)}\n{text}')
    return copies


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def changed(conf: cfg.ConfigOpts) -> Iterator[pathlib.Path]:
    """Yield the files that have changed since they were copied.

    A file that is gone has changed. A drop-in that was added has, too. Of a
    copy whose origin is unknown, because an older release made it, this is
    the copy itself.
    """
    for copy in sorted(folder(conf).glob('*/*.toml')):
        origin = _origin(copy)
        if origin is None:
            yield copy
            continue
        source, _ = origin
        added = {path.name for path in source.parent.glob('config.d/*.toml')}
        for drop_in in [copy, *sorted(copy.parent.glob('config.d/*.toml'))]:
            added.discard(drop_in.name)
            origin = _origin(drop_in)
            if origin is not None and origin[1] != _digest_of(origin[0]):
                yield origin[0]
        for name in sorted(added):
            yield source.parent / 'config.d' / name


def _origin(copy: pathlib.Path) -> tuple[pathlib.Path, str] | None:
    """Return of which file, and of which content, this is a copy."""
    try:
        with copy.open() as file:
            found = _HEAD.fullmatch(file.readline())
    except (OSError, UnicodeDecodeError):
        return None
    return (pathlib.Path(found[1]), found[2]) if found else None


def _digest_of(path: pathlib.Path) -> str:
    try:
        return _digest(path.read_text())
    except (OSError, UnicodeDecodeError):
        return ''
