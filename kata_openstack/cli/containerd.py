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

"""kata-openstack containerd: its configuration for our handlers."""

import argparse
from collections.abc import Iterator
import contextlib
import pathlib
import shlex
import signal

from cliff import command

from kata_openstack.cli import local_node
from kata_openstack.cli import shell
from kata_openstack import exception
from kata_openstack.runtime.containerd import binary
from kata_openstack.runtime.containerd import config
from kata_openstack.runtime.containerd import install

DEFAULT_CONFIG = pathlib.Path('/etc/containerd/config.toml')


@contextlib.contextmanager
def _undone_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP raise, as Ctrl-C does: what was begun is undone."""
    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop)
              for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Config(command.Command):
    """Print containerd's configuration of the handlers usable here.

    Save it as a file that the "imports" of containerd's own configuration
    name, and restart containerd. The exit code is 1 if no handler is
    usable; "kata-openstack host check" says why.
    """

    app: shell.KataOpenstack

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--containerd-version', metavar='VERSION',
            help='Version to write for, such as 1.7 or 2.1. Default: that '
                 'of the installed containerd.')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        handlers = local_node.look(self.app.conf).files()
        version = parsed_args.containerd_version or binary.version()
        self.app.stdout.write(
            config.render(self.app.conf, handlers, version))
        if not handlers:
            self.app.LOG.error('No handler is usable here; "kata-openstack '
                               'host check" says why.')
        return 0 if handlers else 1


class Configure(command.Command):
    """Let containerd know the handlers usable here, tuned to this host.

    Only what is this program's own is changed: a file of its own, and the
    line that imports it, or, for a containerd that does not merge imported
    files, the tables of its handlers in containerd's own file, whose
    comments and order stay. A handler that the file has already is left
    alone. containerd must accept the result (config dump), with everything
    else in it as before, before anything is written. The file as it was
    without ours is kept beside it, with the suffix .before-kata-openstack.

    Exit codes: 0 if all is in order or was brought in order; 1 on any
    error, with everything as before, but for files that are named as not
    undone; 2 for wrong arguments; 3 if --check or --diff found something to
    change; 4 if no handler is usable here, so that containerd now has none
    of ours.
    """

    app: shell.KataOpenstack

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        group = parser.add_mutually_exclusive_group()
        group.add_argument(
            '--check', action='store_true',
            help='Change nothing; name the files that would change.')
        group.add_argument(
            '--diff', action='store_true',
            help='Change nothing; print what would change.')
        parser.add_argument(
            '--config', metavar='PATH', type=pathlib.Path,
            default=DEFAULT_CONFIG,
            help=f"containerd's configuration. Default: {DEFAULT_CONFIG}")
        parser.add_argument(
            '--own-file', metavar='PATH', type=pathlib.Path,
            help='The file to import. Default: conf.d/kata-openstack.toml '
                 "beside containerd's configuration.")
        parser.add_argument(
            '--containerd', metavar='PROGRAM', default='containerd',
            help='The containerd program to ask.')
        parser.add_argument(
            '--restart', metavar='COMMAND', type=shlex.split,
            help='Restart containerd with this when something was changed, '
                 'for example "systemctl restart containerd". If it does '
                 'not come up with the handlers, everything is undone and '
                 'it is restarted again. Default: no restart.')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        path = parsed_args.config.absolute()
        own = (parsed_args.own_file
               or path.parent / 'conf.d' / 'kata-openstack.toml')
        target = install.Target(
            config=path, own=own.absolute(), program=parsed_args.containerd,
            version=binary.version(parsed_args.containerd))
        here = local_node.look(self.app.conf)
        plan = install.plan(self.app.conf, target, here.files(),
                            here.tunings())
        say = self.app.stdout.write
        for words in plan.kept:
            say(f'left as it is: {words}\n')
        for change in plan.changes:
            say(change.diff() if parsed_args.diff else
                f'{"remove" if change.after is None else "write"} '
                f'{change.path}\n')
        if parsed_args.check or parsed_args.diff:
            return 3 if plan.changes else 0
        if plan.changes:
            with _undone_by_signals():
                self._apply(plan, target, parsed_args.restart)
        say(f'handlers: {", ".join(plan.handlers) or "none"}\n')
        return 0 if plan.handlers or plan.theirs else 4

    def _apply(self, plan: install.Plan, target: install.Target,
               restart: list[str] | None) -> None:
        install.apply(plan.changes, target)
        if not restart:
            self.app.stdout.write('Restart containerd to use it.\n')
            return
        try:
            install.restart(self.app.conf, restart, plan.handlers)
        except BaseException:  # Ctrl-C and SIGTERM, too
            self._undo(plan, restart)
            raise

    def _undo(self, plan: install.Plan, restart: list[str]) -> None:
        left = install.undo(plan.changes)
        if left:
            self.app.LOG.error('Not undone: %s', '; '.join(left))
        else:
            self.app.LOG.error('All changes are undone.')
        try:
            install.restart(self.app.conf, restart, ())
        except exception.RuntimeFailed as e:
            # not raised: what failed first is the cause
            self.app.LOG.error('With the former configuration: %s', e)
