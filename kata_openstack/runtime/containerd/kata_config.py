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

Upstream reads ``config.d`` beside the file that ConfigPath names. Many
handlers share one folder in its release, where a drop-in for one would give
all others a second hypervisor. So each handler gets a folder of ours, with a
copy of upstream's file, copies of the operator's drop-ins, and our own.
"""

from collections.abc import Mapping
import logging
import pathlib
from typing import Any

from oslo_config import cfg
import tomli_w

from kata_openstack.runtime.hypervisors import base

LOG = logging.getLogger(__name__)

# drop-ins are read in the order of their names; the operator's may follow
_DROP_IN = '50-kata-openstack.toml'


def folder(conf: cfg.ConfigOpts) -> pathlib.Path:
    """All of it is ours."""
    return pathlib.Path(conf.state_path).absolute() / 'kata'


def files(conf: cfg.ConfigOpts, handlers: Mapping[base.Handler, base.Files],
          tunings: Mapping[base.Handler, dict[str, Any]],
          ) -> tuple[dict[base.Handler, base.Files], dict[pathlib.Path, str]]:
    """What containerd is to name instead, and what must be written.

    A handler that has nothing to tune keeps its file. One whose files
    cannot be read is left out, and one line says why.
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
        written[own / 'config.d' / _DROP_IN] = tomli_w.dumps(tuning)
        named[handler] = base.Files(
            runtime_path=found.runtime_path,
            config_path=own / found.config_path.name)
    return named, written


def _copies(handler: base.Handler, path: pathlib.Path,
            own: pathlib.Path) -> dict[pathlib.Path, str] | None:
    """Upstream's file and the operator's drop-ins; None if one is not to
    be read: without it, the handler would be another than it seems."""
    drop_ins = sorted(path.parent.glob('config.d/*.toml'))
    copies = {}
    for file, copy in ((path, own / path.name), *(
            (drop_in, own / 'config.d' / drop_in.name)
            for drop_in in drop_ins)):
        try:
            copies[copy] = file.read_text()
        except (OSError, UnicodeDecodeError) as e:
            LOG.error('Handler %s is left out, because %s cannot be read: '
                      '%s.', handler.name, file, e)
            return None
    return copies
