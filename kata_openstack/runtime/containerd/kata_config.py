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
"""

from collections.abc import Iterable
from collections.abc import Mapping
import logging
import pathlib
import tomllib
from typing import Any

from oslo_config import cfg
import tomli_w

from kata_openstack.runtime.hypervisors import base

LOG = logging.getLogger(__name__)

# Drop-ins are read in the order of their names. Those of the operator with a
# later name override ours.
_DROP_IN = '50-kata-openstack.toml'


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
            copies[copy] = file.read_text()
        except (OSError, UnicodeDecodeError) as e:
            LOG.error('Handler %s is not configured, because %s cannot be '
                      'read: %s', handler.name, file, e)
            return None
    return copies
