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

"""Loads the hypervisor plugins in the operator's order."""

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
    LOG.error('Hypervisor plugin %s cannot be loaded and is left out: '
              '%s: %s', entry_point, type(error).__name__, error)


@functools.cache
def installed() -> dict[str, base.Hypervisor]:
    """All plugins that load, by name; each broken one is one log line."""
    none: named.NamedExtensionManager[Any] = named.NamedExtensionManager(
        NAMESPACE, names=[])
    plugins = {}
    for loaded in map(_load, sorted(set(none.entry_points_names()))):
        if loaded is None:
            continue
        if isinstance(loaded.obj, base.Hypervisor):
            plugins[loaded.name] = loaded.obj
        else:
            LOG.error('Hypervisor plugin %s is left out: it is not a %s.',
                      loaded.name, base.Hypervisor.__name__)
    return plugins


def _load(name: str) -> extension.Extension[Any] | None:
    """One by one: stevedore lets an AssertionError of a plugin pass."""
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
    """The plugins that ``order`` names.

    Each unknown name is one line, in the life of the process: a node asks
    again and again.
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
    """What to tell about a name that no plugin has."""
    successor = upstream.successor(name)
    hint = (f'its successor is {successor[0]} ({successor[1]})' if successor
            else f'known are: {", ".join(sorted(installed()))}')
    return (f'[kata] hypervisor_order names {name}, which is not known here '
            f'and is left out; {hint}.')
