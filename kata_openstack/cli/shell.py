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

"""kata-openstack: the command line for operators of a node."""

import argparse

from cliff import app
from cliff import commandmanager
from oslo_config import cfg

from kata_openstack.conf import opts
from kata_openstack import version


class KataOpenstack(app.App):
    """Commands come from the entry points ``kata_openstack.cli``.

    A command reads the configuration as ``self.app.conf``.
    """

    conf: cfg.ConfigOpts

    def __init__(self) -> None:
        super().__init__(
            description='Inspect and prepare a node that runs VM-isolated '
                        'containers.',
            version=version.version(),
            command_manager=commandmanager.CommandManager(
                'kata_openstack.cli'),
            deferred_help=True)

    def build_option_parser(
            self, description: str | None, version: str | None,
            argparse_kwargs: dict | None = None) -> argparse.ArgumentParser:
        # else argparse takes a command's --config for our --config-file
        parser = super().build_option_parser(
            description, version,
            {'allow_abbrev': False, **(argparse_kwargs or {})})
        parser.add_argument(
            '--config-file', action='append', metavar='FILE', default=[],
            help='Configuration file; may be given several times. Default: '
                 'the files that kata-compute reads.')
        return parser

    def initialize_app(self, argv: list[str]) -> None:
        """Load the configuration before any command runs.

        :raises oslo_config.cfg.Error: for an unreadable or invalid file.
        """
        self.conf = cfg.ConfigOpts()
        opts.register_opts(self.conf)
        # the files of kata-compute: a node has one configuration
        self.conf([], project='kata-openstack', prog='kata-compute',
                  version=version.version(),
                  default_config_files=self.options.config_file or None)
