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

"""kata-openstack embedded show, pods: how old guests are."""

import argparse
from collections.abc import Iterator
import os
import pathlib
import time
from typing import Any

from cliff import command
from cliff import lister
from cliff import show
from oslo_config import cfg

from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.image import errors
from kata_openstack.runtime.embedded.shim import state
from kata_openstack.runtime.embedded.vm.templates import template
from kata_openstack.runtime.hypervisors import embedded

_DAY = 86400  # seconds


def _settings(conf: cfg.ConfigOpts) -> settings.Settings:
    """:raises NotPrepared:"""
    path = embedded.config_path(conf)
    try:
        return settings.Settings.load(str(path))
    except (OSError, ValueError) as e:
        raise errors.NotPrepared(path=path, why=str(e)) from e


def conf_of(command_: command.Command) -> cfg.ConfigOpts:
    """Return the configuration of the program that runs the command."""
    return getattr(command_.app, 'conf', None) or cfg.CONF


def _days(path: str) -> str:
    """Return the age of a file for people."""
    try:
        days = (time.time() - os.stat(path).st_mtime) / _DAY
    except FileNotFoundError:
        return 'missing'
    return f'{days:.1f} days'


class Show(show.ShowOne):
    """Show the guest of the embedded runtime, and its age."""

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        current = _settings(conf_of(self))
        candidate = os.path.exists(
            os.path.join(current.state_path, settings.CANDIDATE))
        templates = [f'{found.size} ({_days(found.folder + "/state")})'
                     for found in template.older_than(current, -1)]
        return (('kernel', 'image_age', 'qemu', 'templates', 'candidate'),
                (current.kernel_release, _days(current.initrd), current.qemu,
                 ', '.join(templates) or 'none', candidate))


class Pods(lister.Lister):
    """List the running pods of the embedded runtime and their outdated parts.

    A pod keeps its kernel and its QEMU until it is stopped.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        current = _settings(conf_of(self))
        rows = [(found.sandbox, found.kernel, _days(f'/proc/{found.qemu}'),
                 ', '.join(_outdated(found, current)) or '-')
                for found in _running(current)]
        return ('Sandbox', 'Kernel', 'Age', 'Outdated'), rows


def _running(current: settings.Settings) -> Iterator[state.State]:
    for folder in sorted(pathlib.Path(current.run_path).iterdir()):
        found = state.State.load(current, folder.name)
        if found and found.qemu and os.path.exists(f'/proc/{found.qemu}'):
            yield found


def _outdated(found: state.State, current: settings.Settings
              ) -> Iterator[str]:
    if found.image_key and found.image_key != current.image_key or (
            found.kernel != current.kernel_release):
        yield 'guest'
    try:
        if not os.path.samefile(f'/proc/{found.qemu}/exe', current.qemu):
            yield 'QEMU'
    except FileNotFoundError:
        yield 'QEMU'
