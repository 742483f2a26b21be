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
import pathlib
from typing import Any

from oslo_config import cfg
import tomli_w

from kata_openstack.runtime.hypervisors import base

# drop-ins are read in the order of their names; the operator's may follow
_DROP_IN = '50-kata-openstack.toml'


def folder(conf: cfg.ConfigOpts) -> pathlib.Path:
    """All of it is ours."""
    return pathlib.Path(conf.state_path).absolute() / 'kata'


def files(conf: cfg.ConfigOpts, handlers: Mapping[base.Handler, base.Files],
          tunings: Mapping[base.Handler, dict[str, Any]],
          ) -> tuple[dict[base.Handler, base.Files], dict[pathlib.Path, str]]:
    """What containerd is to name instead, and what must be written.

    A handler that has nothing to tune keeps its file.

    :raises OSError: upstream's files cannot be read.
    """
    named, written = dict(handlers), {}
    for handler, found in handlers.items():
        tuning = tunings.get(handler)
        if not tuning:
            continue
        own = folder(conf) / handler.shim
        copy = own / found.config_path.name
        written[copy] = found.config_path.read_text()
        for drop_in in sorted(found.config_path.parent.glob(
                'config.d/*.toml')):
            written[own / 'config.d' / drop_in.name] = drop_in.read_text()
        written[own / 'config.d' / _DROP_IN] = tomli_w.dumps(tuning)
        named[handler] = base.Files(runtime_path=found.runtime_path,
                                    config_path=copy)
    return named, written
