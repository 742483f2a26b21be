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

import types

import fixtures
from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from kata_openstack.cmd import status
from kata_openstack.conf import kata
from kata_openstack.conf import opts
from kata_openstack import exception
from tests.unit import base
from tests.unit.runtime.host import hosts

OK = upgradecheck.Code.SUCCESS
WARNING = upgradecheck.Code.WARNING
FAILURE = upgradecheck.Code.FAILURE


class Client:
    """A stand-in for the CRI client, which has its own tests."""

    def __init__(self, version='1.7.24', api='v1', handlers=('kata-clh',)):
        self._version = version
        self._api = api
        self._handlers = set(handlers)

    def __call__(self, conf):
        return self

    def version(self):
        if self._version is None:
            raise exception.ContainerdUnavailable(address='a', why='it is')
        return types.SimpleNamespace(
            runtime_name='containerd', runtime_version=self._version,
            runtime_api_version=self._api)

    def handlers(self):
        return self._handlers

    def close(self):
        pass


class TestStatus(base.TestCase):
    def results(self, client=None, config='', **host):
        record = hosts.recorded(self, **{'kata': hosts.KATA_GO, **host})
        self.useFixture(fixtures.MockPatch(
            'kata_openstack.runtime.node.probe.probe',
            return_value=record.probe()))
        file = record.root / 'node.conf'
        file.write_text(config)
        conf = cfg.ConfigOpts()
        opts.register_opts(conf)
        conf([], default_config_files=[str(file)])
        checks = status.Checks(conf, connect=client or Client())
        return {name: check(checks)
                for name, check in status.Checks._upgrade_checks}

    def test_all_is_well(self):
        results = self.results()
        self.assertEqual({OK}, {r.code for r in results.values()})
        self.assertEqual('containerd 1.7.24', results['containerd'].details)
        self.assertEqual('kata-clh', results['Handlers'].details)

    def test_containerd_does_not_answer(self):
        results = self.results(Client(version=None))
        self.assertEqual(FAILURE, results['containerd'].code)
        # handlers are not compared with a containerd that does not answer
        self.assertEqual(OK, results['Handlers'].code)

    def test_containerd_is_too_old(self):
        self.assertEqual(FAILURE, self.results(
            Client(version='1.5.2'))['containerd'].code)

    def test_containerd_speaks_an_old_cri(self):
        self.assertEqual(FAILURE, self.results(
            Client(api='v1alpha2'))['containerd'].code)

    def test_containerd_lacks_our_handlers(self):
        result = self.results(Client(handlers=['runc']))['Handlers']
        self.assertEqual(FAILURE, result.code)
        self.assertIn('containerd config', result.details)

    def test_order(self):
        result = self.results(
            config='[kata]\nhypervisor_order = runv, clh')
        self.assertEqual(WARNING, result['Hypervisor order'].code)
        self.assertIn('successor is qemu',
                      result['Hypervisor order'].details)
        result = self.results(config='[kata]\nhypervisor_order = xen')
        self.assertEqual(FAILURE, result['Hypervisor order'].code)
        self.assertEqual(FAILURE, result['Handlers'].code)

    def test_a_new_release_of_kata(self):
        self.useFixture(fixtures.MockPatch(
            'kata_openstack.cmd.status.kata_config.changed',
            return_value=['/opt/kata/configuration-clh.toml'] * 2))
        result = self.results()['Configuration of Kata']
        self.assertEqual(WARNING, result.code)
        self.assertEqual(1, result.details.count(
            '/opt/kata/configuration-clh.toml'))
        self.assertIn('containerd configure', result.details)

    def test_options(self):
        old = cfg.StrOpt('new_name', deprecated_name='old_name')
        gone = cfg.StrOpt('gone', deprecated_for_removal=True,
                          deprecated_reason='It is obsolete.')
        self.useFixture(fixtures.MockPatch(
            'kata_openstack.conf.kata.OPTS', [*kata.OPTS, old, gone]))
        result = self.results(
            config='[DEFAULT]\ndebug = true\n[kata]\nold_name = a\n'
                   'gone = b\nallow_emulaton = true\n')['Options']
        self.assertEqual(WARNING, result.code)
        self.assertIn('is now called new_name', result.details)
        self.assertIn('It is obsolete.', result.details)
        self.assertIn('allow_emulaton', result.details)
        self.assertNotIn('debug', result.details)
