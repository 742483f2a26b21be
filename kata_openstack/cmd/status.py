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

"""kata-openstack-status: checks that this node is ready for this release."""

from collections.abc import Callable
from collections.abc import Iterator
import sys

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from kata_openstack.cli import local_node
from kata_openstack.conf import opts
from kata_openstack import exception
from kata_openstack.runtime.containerd import config as containerd_config
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import kata_config
from kata_openstack.runtime.hypervisors import loader

CRI_VERSION = 'v1'

_OK = upgradecheck.Code.SUCCESS
_WARNING = upgradecheck.Code.WARNING
_FAILURE = upgradecheck.Code.FAILURE


class Checks(upgradecheck.UpgradeCommands):
    """The upgrade checks; each failure has a remedy.

    :param connect: creates the CRI client; tests pass their own.
    """

    def __init__(self, conf: cfg.ConfigOpts,
                 connect: Callable[[cfg.ConfigOpts], cri.CriClient]
                 = cri.CriClient) -> None:
        self._conf = conf
        self._connect = connect
        # the handlers found by _containerd(), for _handlers()
        self._configured: set[str] | None = None

    def _containerd(self) -> upgradecheck.Result:
        """Check that containerd answers, speaks CRI v1 and is supported."""
        client = self._connect(self._conf)
        try:
            version = client.version()
            containerd_config.format_version(version.runtime_version)
            self._configured = client.handlers()
        except exception.KataError as e:
            return upgradecheck.Result(_FAILURE, str(e))
        finally:
            client.close()
        if version.runtime_api_version != CRI_VERSION:
            return upgradecheck.Result(
                _FAILURE, f'containerd speaks CRI '
                f'{version.runtime_api_version}, not {CRI_VERSION}. Install '
                'containerd 1.6 or later.')
        return upgradecheck.Result(
            _OK, f'{version.runtime_name} {version.runtime_version}')

    def _order(self) -> upgradecheck.Result:
        """Check that every name in hypervisor_order is a plugin's."""
        order = self._conf.kata.hypervisor_order
        unknown = [name for name in order if name not in loader.installed()]
        if not unknown:
            return upgradecheck.Result(_OK, ', '.join(order))
        return upgradecheck.Result(
            _WARNING if len(unknown) < len(order) else _FAILURE,
            ' '.join(loader.unknown(name) for name in unknown))

    def _handlers(self) -> upgradecheck.Result:
        """Check that a handler is usable; without one, no pod can run."""
        states = local_node.look(self._conf).handlers(self._configured)
        usable = [s.name for s in states if s.usable]
        if usable:
            return upgradecheck.Result(_OK, ', '.join(usable))
        return upgradecheck.Result(
            _FAILURE, 'No handler is usable. ' + ' '.join(
                f'{s.name}: {s.reason}. {s.remedy}' for s in states))

    def _kata_files(self) -> upgradecheck.Result:
        """Check that the handlers use what Kata's packages have now."""
        found = ', '.join(sorted(
            set(map(str, kata_config.changed(self._conf)))))
        if not found:
            return upgradecheck.Result(_OK)
        return upgradecheck.Result(
            _WARNING, 'The configuration of Kata has changed since it was '
            'copied for the handlers, or an older release copied it: '
            f'{found}. Run "kata-openstack containerd configure".')

    def _options(self) -> upgradecheck.Result:
        """Check the configuration files for deprecated, unknown options."""
        found = [line for file in self._conf.config_file
                 for line in _outdated(file)]
        if found:
            return upgradecheck.Result(_WARNING, ' '.join(found))
        return upgradecheck.Result(_OK)

    _upgrade_checks = (
        ('containerd', _containerd),
        ('Hypervisor order', _order),
        ('Handlers', _handlers),
        ('Configuration of Kata', _kata_files),
        ('Options', _options),
    )


def _outdated(file: str) -> Iterator[str]:
    """Yield a sentence for each deprecated or unknown option in ``file``.

    Unknown options can be recognised only in our own groups: [DEFAULT] and
    the groups of libraries contain options of others.
    """
    sections: dict[str, dict[str, list[str]]] = {}
    cfg.ConfigParser(file, sections).parse()
    for group, known in opts.list_opts():
        ours = {opt.dest: opt for opt in known}
        renamed = {old.name: opt for opt in known
                   for old in opt.deprecated_opts if old.name}
        for name in sections.get(group.name, {}):
            dest = name.replace('-', '_')
            where = f'[{group.name}] {name} in {file}'
            if dest in ours and ours[dest].deprecated_for_removal:
                why = (ours[dest].deprecated_reason
                       or 'It is no longer needed.')
                yield f'{where} will be removed. {why}'
            elif dest in renamed and dest not in ours:
                yield f'{where} is now called {renamed[dest].name}.'
            elif dest not in ours and group.name != 'DEFAULT':
                yield f'{where} is unknown: remove or correct it.'


def main(argv: list[str] | None = None) -> int:
    conf = cfg.ConfigOpts()
    opts.register_opts(conf)
    # the configuration files of this node's kata-compute
    files = cfg.find_config_files(project='kata-openstack',
                                  prog='kata-compute')
    return upgradecheck.main(
        conf, project='kata-openstack', upgrade_command=Checks(conf),
        argv=sys.argv[1:] if argv is None else argv,
        default_config_files=files)
