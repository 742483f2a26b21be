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

"""kata-openstack containerd: configures containerd for our handlers."""

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
from kata_openstack.runtime.containerd import file_changes
from kata_openstack.runtime.containerd import install
from kata_openstack.runtime import launcher

DEFAULT_CONFIG = pathlib.Path('/etc/containerd/config.toml')


@contextlib.contextmanager
def _undone_by_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise, as Ctrl-C does, to undo changes."""
    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop)
              for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Show(command.Command):
    """Print containerd's configuration for the usable handlers of this node.

    Save the output as a file, add that file to "imports" in containerd's own
    configuration, and restart containerd. The exit code is 1 if no handler
    is usable; "kata-openstack host check" shows the reasons.
    """

    app: shell.KataOpenstack

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--containerd-version', metavar='VERSION',
            help='Version of containerd that will read the configuration, '
                 'such as 1.7 or 2.1. Default: the version of the installed '
                 'containerd.')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        handlers = local_node.look(self.app.conf).files()
        version = parsed_args.containerd_version or binary.version()
        self.app.stdout.write(
            config.render(self.app.conf, handlers, version))
        if not handlers:
            self.app.LOG.error('No handler is usable on this node. Run '
                               '"kata-openstack host check" to see the '
                               'reasons.')
        return 0 if handlers else 1


class Config(Show):
    """Former name of "containerd show".

    Without it, cliff would take this word for "containerd configure".
    """

    deprecated = True

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        self.app.stderr.write('"containerd config" is deprecated. Use '
                              '"kata-openstack containerd show".\n')
        return super().take_action(parsed_args)


class Plugin(command.Command):
    """Write the CNI plugin kata-cni into containerd's folder of plugins.

    containerd names that folder (bin_dir) in "containerd config dump". Run
    this again after the installation of kata-openstack has moved.
    """

    app: shell.KataOpenstack

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'folder', metavar='FOLDER', type=pathlib.Path,
            help='Folder of the CNI plugins, such as /usr/lib/cni.')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        try:
            path = launcher.CNI.write(parsed_args.folder)
        except OSError as e:
            self.app.LOG.error(
                f'Cannot write {launcher.CNI.name} into '
                f'{parsed_args.folder}: {e.strerror}. Name an existing '
                'folder, and run this as root.')
            return 1
        self.app.stdout.write(f'{path}\n')
        return 0


class Configure(command.Command):
    """Configure containerd for the usable handlers, tuned to this host.

    This changes only its own parts: its own file, and the line that imports
    it. For a containerd that does not merge imported files, it changes the
    tables of its handlers in containerd's own file, and keeps the comments
    and the order of that file. A handler that the file already has is left
    alone. Before anything is written, containerd must accept the result
    (config dump), with everything else in it unchanged. The file without
    our changes is kept beside it, with the suffix .before-kata-openstack.

    Exit codes: 0 if the configuration was correct or was corrected; 1 on
    any error, with everything unchanged except files reported as not
    undone; 2 for wrong arguments; 3 if --check or --diff found something to
    change; 4 if no handler is usable on this node, so that containerd now
    has none of ours.
    """

    app: shell.KataOpenstack

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        group = parser.add_mutually_exclusive_group()
        group.add_argument(
            '--check', action='store_true',
            help='Change nothing; list the files that would change.')
        group.add_argument(
            '--diff', action='store_true',
            help='Change nothing; print the changes as a diff.')
        parser.add_argument(
            '--config', metavar='PATH', type=pathlib.Path,
            default=DEFAULT_CONFIG,
            help="Path of containerd's configuration. Default: "
                 f'{DEFAULT_CONFIG}')
        parser.add_argument(
            '--own-file', metavar='PATH', type=pathlib.Path,
            help='Path of the file that this command writes and containerd '
                 'imports. Default: conf.d/kata-openstack.toml beside '
                 "containerd's configuration.")
        parser.add_argument(
            '--containerd', metavar='PROGRAM', default='containerd',
            help='The containerd program to ask for its version and "config '
                 'dump". Default: containerd')
        parser.add_argument(
            '--restart', metavar='COMMAND', type=shlex.split,
            help='Command that restarts containerd after a change, for '
                 'example "systemctl restart containerd". If containerd '
                 'does not come up with the handlers, all changes are '
                 'undone and it is restarted again. Default: no restart.')
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
        file_changes.apply(plan.changes, target.config)
        if not restart:
            self.app.stdout.write('Restart containerd to use the new '
                                  'configuration.\n')
            return
        try:
            install.restart(self.app.conf, restart, plan.handlers)
        except BaseException:  # Ctrl-C and SIGTERM, too
            self._undo(plan, restart)
            raise

    def _undo(self, plan: install.Plan, restart: list[str]) -> None:
        left = file_changes.undo(plan.changes)
        if left:
            self.app.LOG.error('Not undone: %s', '; '.join(left))
        else:
            self.app.LOG.error('All changes are undone.')
        try:
            install.restart(self.app.conf, restart, ())
        except exception.RuntimeFailed as e:
            # not raised: the first failure is the cause
            self.app.LOG.error('With the restored configuration: %s', e)
