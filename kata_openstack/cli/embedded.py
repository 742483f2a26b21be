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

"""kata-openstack embedded: prepares and updates the embedded runtime."""

import argparse
from collections.abc import Callable

from cliff import command

from kata_openstack.cli import guests
from kata_openstack.cli import local_node
from kata_openstack.runtime.embedded.image import preparation

_TEMPLATE_AGE = 7 * 86400  # seconds


def _progress(command_: command.Command) -> Callable[[str], None]:
    """Return a function that writes a line to standard error."""
    def write(text: str) -> None:
        command_.app.stderr.write(f'{text}\n')
    return write


class Prepare(command.Command):
    """Build the guest image and the VM template of the embedded runtime.

    Prints the path for ConfigPath of containerd's handler kata-embedded.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--accelerator', choices=('kvm', 'tcg'),
            help='Accelerator of the VMs: kvm, or tcg for emulation. '
                 'Default: kvm if the host check finds it usable, else tcg '
                 'if [kata] allow_emulation is set')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        conf = guests.conf_of(self)
        progress = _progress(self)
        accelerator = (parsed_args.accelerator
                       or local_node.look(conf).accelerator())
        if accelerator is None:
            self.app.LOG.error(
                'QEMU can run no VM on this host. Run "kata-openstack host '
                'check", which shows the reason.')
            return 1
        path = preparation.prepare(conf, accelerator, progress)
        self.app.stdout.write(f'{path}\n')
        return 0


class Update(command.Command):
    """Build a guest from the newest packages, and renew old VM templates.

    kata-compute runs this command by itself, see [embedded] update_interval.
    It prints the path of the new guest's settings, or nothing if the guest in
    use is the newest. kata-compute uses the new guest after its canary sandbox
    has passed.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        conf = guests.conf_of(self)
        progress = _progress(self)
        path = preparation.prepare_candidate(conf, progress)
        if path:
            self.app.stdout.write(f'{path}\n')
        preparation.renew_templates(conf, _TEMPLATE_AGE, progress)
