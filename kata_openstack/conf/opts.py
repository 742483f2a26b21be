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

"""List and register the options of all groups."""

import importlib
import pkgutil
from types import ModuleType
from typing import Any

from oslo_config import cfg

import kata_openstack.conf as package


def _modules() -> list[ModuleType]:
    names = sorted(m.name for m in pkgutil.iter_modules(package.__path__))
    return [importlib.import_module(f'{package.__name__}.{name}')
            for name in names if name != 'opts']


def list_opts() -> list[tuple[cfg.OptGroup, list[Any]]]:
    """Entry point of oslo-config-generator and the sphinx extension."""
    return [(module.GROUP, module.OPTS) for module in _modules()]


def register_opts(conf: cfg.ConfigOpts, *groups: str) -> None:
    """Register our options on ``conf``. Safe to call again.

    :param groups: register only these groups; default: all. The Zun driver
        needs this, because [DEFAULT] of zun-compute has options of the same
        names.
    """
    for group, opts in list_opts():
        if not groups or group.name in groups:
            if group.name == 'DEFAULT':  # conf.host, not conf.DEFAULT.host
                conf.register_opts(opts)
                continue
            # Register a copy of the group: a registered group stores
            # overrides, which a second ConfigOpts would share.
            conf.register_group(cfg.OptGroup(group.name, group.title,
                                             group.help))
            conf.register_opts(opts, group=group.name)
