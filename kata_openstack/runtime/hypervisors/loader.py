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

"""Loads the hypervisor plugins that the operator's order names."""

from collections.abc import Iterable
import functools
import logging
from typing import Any

from stevedore import extension
from stevedore import named

from kata_openstack.runtime.hypervisors import base
from kata_openstack.runtime.hypervisors import upstream

LOG = logging.getLogger(__name__)

NAMESPACE = 'kata_openstack.hypervisors'


def _report(manager: object, entry_point: object,
            error: BaseException) -> None:
    LOG.error('Cannot load hypervisor plugin %s; it is not used: %s: %s',
              entry_point, type(error).__name__, error)


@functools.cache
def installed() -> dict[str, base.Hypervisor]:
    """Return the plugins by name; log one line for each that fails."""
    none: named.NamedExtensionManager[Any] = named.NamedExtensionManager(
        NAMESPACE, names=[])
    plugins = {}
    for loaded in map(_load, sorted(set(none.entry_points_names()))):
        if loaded is None:
            continue
        if isinstance(loaded.obj, base.Hypervisor):
            plugins[loaded.name] = loaded.obj
        else:
            LOG.error('Hypervisor plugin %s is not used: its class does not '
                      'inherit from %s', loaded.name,
                      base.Hypervisor.__name__)
    return plugins


def _load(name: str) -> extension.Extension[Any] | None:
    """Load one plugin.

    stevedore does not catch an AssertionError of a plugin, so an error must
    not prevent the others from loading.
    """
    try:
        manager: named.NamedExtensionManager[Any] = (
            named.NamedExtensionManager(
                NAMESPACE, names=[name], invoke_on_load=True,
                on_load_failure_callback=_report,
                warn_on_missing_entrypoint=False))
    except AssertionError as e:
        _report(None, name, e)
        return None
    return next(iter(manager), None)


def in_order(order: Iterable[str]) -> dict[str, base.Hypervisor]:
    """Return the plugins that ``order`` names, in this order.

    Unknown names are logged once per process, because a node calls this
    many times.
    """
    return _in_order(tuple(order))


@functools.cache
def _in_order(order: tuple[str, ...]) -> dict[str, base.Hypervisor]:
    plugins = installed()
    for name in order:
        if name not in plugins:
            LOG.error('%s', unknown(name))
    return {name: plugins[name] for name in order if name in plugins}


def unknown(name: str) -> str:
    """Return the message about a name that no plugin has."""
    successor = upstream.successor(name)
    hint = (f'its successor is {successor[0]} ({successor[1]})' if successor
            else f'known names are: {", ".join(sorted(installed()))}')
    return (f'[kata] hypervisor_order names the unknown hypervisor {name}, '
            f'which is ignored; {hint}.')
