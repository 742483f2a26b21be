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

import argparse
import contextlib
import datetime
from typing import Any

from cliff import command
from cliff import lister
from cliff import show

from kata_openstack.cli import guests
from kata_openstack.cli import local_node
from kata_openstack.compute.pods import view
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.runtime.containerd import cri


def _client(command_: command.Command
            ) -> contextlib.closing[cri.CriClient]:
    return contextlib.closing(
        local_node.containerd(guests.conf_of(command_)))


def _state(pod: objects.PodStatus) -> str:
    if not pod.ready:
        return 'stopped'
    states = {c.state for c in pod.containers}
    if 'running' in states:
        return 'running'
    return '/'.join(sorted(states)) or 'created'


def _time(seconds: float | None) -> str:
    if seconds is None:
        return '-'
    return datetime.datetime.fromtimestamp(
        seconds, datetime.UTC).strftime('%Y-%m-%dT%H:%M:%SZ')


class List(lister.Lister):
    """List the pods of this node: Zun's containers and capsules."""

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        with _client(self) as client:
            pods = [view.pod_status(client, found)
                    for found in view.read_all(client).values()]
        return (('UUID', 'Kind', 'State', 'Handler', 'Created'),
                [(pod.uuid, pod.kind, _state(pod), pod.handler,
                  _time(pod.created_at)) for pod in pods])


class Show(show.ShowOne):
    """Show a pod of this node, and why it has its handler."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'uuid', metavar='UUID',
            help='UUID of a Zun container or capsule')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        with _client(self) as client:
            found = view.read(client, parsed_args.uuid)
            if found is None:
                raise exception.NotFound(kind='Pod', id=parsed_args.uuid)
            rows = _rows(found, view.pod_status(client, found))
        titles, values = zip(*rows, strict=True)
        return titles, values


def _rows(found: view.PodView, pod: objects.PodStatus
          ) -> list[tuple[str, Any]]:
    return [
        ('uuid', pod.uuid),
        ('kind', pod.kind),
        ('state', _state(pod)),
        ('handler', pod.handler),
        ('handler_reason', pod.handler_reason),
        ('accelerator', pod.accelerator),
        ('hostname', pod.hostname),
        ('created_at', _time(pod.created_at)),
        ('sandbox', pod.sandbox_id),
        ('ports', ', '.join(sorted(view.vifs(found.sandbox).port_ids))),
        ('containers', '\n'.join(map(_container, pod.containers)))]


def _container(container: objects.ContainerStatus) -> str:
    """Return a line such as "web (nginx): exited 1, Error"."""
    text = f'{container.name or container.uuid} ({container.image}): ' \
           f'{container.state}'
    if container.exit_code is not None:
        text += f' {container.exit_code}'
    return ', '.join(filter(None, (text, container.reason,
                                   container.message)))
