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

"""kata-openstack host: shows the handlers that this node can run."""

import argparse
from collections.abc import Sequence
import dataclasses
import textwrap
from typing import Any

from cliff import columns as cliff_columns
from cliff import lister
from cliff import show

from kata_openstack.cli import local_node
from kata_openstack.cli import shell
from kata_openstack import exception
from kata_openstack import needs
from kata_openstack.runtime.canary import records
from kata_openstack.runtime.canary import runner
from kata_openstack.runtime import node
from kata_openstack.runtime import selection

_TABLE_WIDTH = 100
_TEXT_WIDTH = 80


@dataclasses.dataclass(frozen=True)
class _Containerd:
    """containerd's answers; ``configured`` is None without an answer."""

    summary: dict[str, Any]
    configured: set[str] | None
    canaries: dict[str, records.Record]


def _look(app: shell.KataOpenstack, *,
          measure: bool = False) -> tuple[node.Node, _Containerd]:
    """Return this node, judged as kata-compute judges it.

    :param measure: measure KVM again.
    """
    containerd = _ask_containerd(app)
    here = local_node.look(app.conf, measure=measure)
    if app.conf.canary.enabled:
        here.doubt = records.problems(containerd.canaries).get
    return here, containerd


def _ask_containerd(app: shell.KataOpenstack) -> _Containerd:
    """Return containerd's handlers and kata-compute's canary results."""
    kept = records.load(records.path(app.conf))
    client = local_node.containerd(app.conf)
    try:
        version = client.version().runtime_version
        keys = runner.keys(client)
    except exception.KataError as e:
        return _Containerd({'reachable': False, 'reason': str(e)}, None, kept)
    finally:
        client.close()
    return _Containerd(
        {'reachable': True, 'version': version,
         'reason': f'{version} at {client.address}'}, set(keys),
        # results with another configuration do not apply to this one
        {name: record for name, record in kept.items()
         if record.key == keys.get(name)})


class _Kvm(cliff_columns.FormattableColumn):
    def human_readable(self) -> str:
        kvm = self._value
        return f'{kvm["state"]}: {kvm["reason"]}'


class _Device(cliff_columns.FormattableColumn):
    def human_readable(self) -> str:
        return f'{self._value["state"]}: {self._value["reason"]}'


class _Summary(cliff_columns.FormattableColumn):
    def human_readable(self) -> str:
        return self._value['reason']


class _Handlers(cliff_columns.FormattableColumn):
    """One line per handler, for formats that have no table."""

    def human_readable(self) -> str:
        return '\n'.join(
            f'{h["name"]}: {"usable" if h["usable"] else "not usable"}, '
            f'{h["reason"]}' for h in self._value)


def _explained(handler: dict[str, Any]) -> str:
    """Return the reason and, indented, the remedy for a handler."""
    # Commands and paths stay in one piece, so that they can be copied.
    wrap = textwrap.TextWrapper(_TEXT_WIDTH, break_long_words=False,
                                break_on_hyphens=False,
                                subsequent_indent=' ' * 4)
    lines = wrap.wrap(f'{handler["name"]}: {handler["reason"]}')
    if handler['remedy']:
        wrap.initial_indent = wrap.subsequent_indent
        lines += wrap.wrap(f'Remedy: {handler["remedy"]}')
    return '\n'.join(lines) + '\n'


def _canary(told: dict[str, Any] | None) -> str:
    if told is None:
        return '-'
    return f'{told["seconds"]:.2f} s' if told['passed'] else 'failed'


class Check(show.ShowOne):
    """Show which handlers can run on this node, and why others cannot.

    KVM is measured again: guest code runs a loop, which is timed. Whether
    containerd already has a handler is shown too, but does not decide
    whether it is usable. A handler is not usable if its canary sandbox
    failed in kata-compute with the current configuration of containerd.

    Exit codes: 0 if at least one handler is usable, 1 if none is or on any
    error, 2 for wrong arguments.
    """

    app: shell.KataOpenstack

    def run(self, parsed_args: argparse.Namespace) -> int:
        super().run(parsed_args)
        return self.exit_code

    def take_action(self, parsed_args: argparse.Namespace,
                    ) -> tuple[Sequence[str], Sequence[Any]]:
        here, containerd = _look(self.app, measure=True)
        host = here.host.to_dict()
        handlers = []
        for state in here.handlers():
            canary = containerd.canaries.get(state.name)
            handlers.append({
                **state.to_dict(), 'configured':
                None if containerd.configured is None
                else state.name in containerd.configured,
                'canary': canary.to_dict() if canary else None})
        self.exit_code = 0 if any(h['usable'] for h in handlers) else 1
        kvm = {**host['kvm'], 'ratio': here.host.kvm.ratio}
        answer = {
            'architecture': here.host.cpu.architecture,
            'cpu': here.host.cpu.model,
            'nested': here.host.nested,
            'kvm': _Kvm(kvm),
            'vsock': _Device(host['vhost_vsock']),
            'tun': _Device(host['tun']),
            'tcg': here.host.qemu.usable,
            'emulation_allowed': self.app.conf.kata.allow_emulation,
            'accelerator': here.accelerator(),
            'containerd': _Summary(containerd.summary),
            'probe_seconds': round(here.host.probe_seconds, 3),
            'handlers': _Handlers(handlers),
        }
        return tuple(answer), tuple(answer.values())

    def produce_output(self, parsed_args: argparse.Namespace,
                       column_names: Any, data: Any) -> int:
        if parsed_args.formatter != 'table':
            return super().produce_output(parsed_args, column_names, data)
        answer = dict(zip(column_names, data, strict=True))
        handlers = answer.pop('handlers').machine_readable()
        parsed_args.max_width = parsed_args.max_width or _TABLE_WIDTH
        super().produce_output(parsed_args, tuple(answer),
                               tuple(answer.values()))
        words = {True: 'yes', False: 'no', None: '-'}
        rows = [(h['name'], words[h['usable']], words[h['configured']],
                 h['accelerator'] or '-', _canary(h['canary']))
                for h in handlers]
        # the table formatter also prints lists; its base class does not
        self.formatter.emit_list(  # type: ignore[attr-defined]
            ('handler', 'usable', 'in containerd', 'accelerator', 'canary'),
            rows, self.app.stdout, parsed_args)
        # as columns, the sentences would make the table too wide
        self.app.stdout.write('\n')
        for handler in handlers:
            self.app.stdout.write(_explained(handler))
        return 0


class Show(show.ShowOne):
    """Show everything that is known about this host, with remedies.

    KVM is not measured again if kata-compute measured it since the last
    boot; "host check" always measures it. The table has one line for each
    part; other formats contain every value.

    Exit codes: 0 on success, 1 on any error, 2 for wrong arguments.
    """

    app: shell.KataOpenstack

    def take_action(self, parsed_args: argparse.Namespace,
                    ) -> tuple[Sequence[str], Sequence[Any]]:
        host = _look(self.app)[0].host
        answer = {**host.to_dict(), 'findings': [
            dataclasses.asdict(f) for f in host.findings()]}
        return tuple(answer), tuple(answer.values())

    def produce_output(self, parsed_args: argparse.Namespace,
                       column_names: Any, data: Any) -> int:
        if parsed_args.formatter != 'table':
            return super().produce_output(parsed_args, column_names, data)
        answer = dict(zip(column_names, data, strict=True))
        self.formatter.emit_list(  # type: ignore[attr-defined]
            ('part', 'finding', 'remedy'),
            [(f['name'], f['reason'], f['remedy'])
             for f in answer['findings']], self.app.stdout, parsed_args)
        self.app.stdout.write('\n')
        return 0


class Select(lister.Lister):
    """Choose a handler as for a pod, and show what ruled out the others.

    The handlers are listed in the order in which they are considered. Those
    after the chosen one are judged too. A handler that containerd does not
    have is ruled out, if containerd answers.

    Exit codes: 0 if a handler was chosen, 1 if none satisfies or on any
    error, 2 for wrong arguments.
    """

    app: shell.KataOpenstack

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--need', action='append', default=[], metavar='NEED',
            choices=sorted(needs.NEEDS),
            help='A need of the pod; may be given several times: '
                 + ', '.join(f'{name} ({words})' for name, words
                             in sorted(needs.NEEDS.items())))
        parser.add_argument(
            '--runtime', default=selection.ANY,
            help='Name of a handler, or "kata" for any. Default: kata')
        parser.add_argument(
            '--isolation', choices=needs.ISOLATION, default='none',
            help='Minimum isolation level. Default: none')
        parser.add_argument('--cpus', type=float, help='CPUs of the pod.')
        parser.add_argument('--memory', type=int, metavar='MIB',
                            help='Memory of the pod, in MiB.')
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        super().run(parsed_args)
        return self.exit_code

    def take_action(self, parsed_args: argparse.Namespace,
                    ) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
        here, containerd = _look(self.app)
        asked: dict[str, Any] = {
            'isolation': parsed_args.isolation, 'cpus': parsed_args.cpus,
            'memory_mib': parsed_args.memory}
        args = (parsed_args.runtime, parsed_args.need, containerd.configured)
        try:
            chosen, reason = None, ''
            choice = here.choose(*args, **asked)
            chosen, reason = choice.handler, choice.reason
        except exception.NoHandler:
            pass  # the table shows the reason for each handler
        self.exit_code = 0 if chosen else 1
        rows = []
        for opinion in here.consider(*args, **asked):
            candidate = opinion.candidate
            if candidate.handler == chosen:
                verdict, why = 'chosen', reason
            elif opinion.obstacle is None:
                verdict, why = 'usable', f'{chosen} comes before it'
            else:
                verdict, why = 'ruled out', opinion.obstacle
            rows.append((candidate.handler, candidate.hypervisor, verdict,
                         why))
        return ('handler', 'hypervisor', 'verdict', 'reason'), rows
