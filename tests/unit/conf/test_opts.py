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

import pathlib

import fixtures
from oslo_config import cfg

from kata_openstack.conf import opts
from tests.unit import base


class TestOpts(base.TestCase):
    def test_default_is_the_top_level(self):
        conf = cfg.ConfigOpts()
        opts.register_opts(conf)
        opts.register_opts(conf)  # a second time is no error
        conf([], default_config_files=[])
        self.assertEqual('/var/lib/kata-openstack', conf.state_path)
        self.assertEqual(['clh', 'qemu', 'embedded'],
                         conf.kata.hypervisor_order)

    def test_only_some_groups(self):
        conf = cfg.ConfigOpts()
        opts.register_opts(conf, 'kata')
        conf([], default_config_files=[])
        self.assertFalse(conf.kata.allow_emulation)
        self.assertNotIn('state_path', conf)

    def test_an_override_stays_with_its_configuration(self):
        one, other = cfg.ConfigOpts(), cfg.ConfigOpts()
        for conf in (one, other):
            opts.register_opts(conf)
            conf([], default_config_files=[])
        one.set_override('allow_emulation', True, 'kata')
        self.assertFalse(other.kata.allow_emulation)

    def test_former_names(self):
        file = pathlib.Path(self.useFixture(fixtures.TempDir()).path) / 'conf'
        file.write_text('[compute]\nmax_log_size_mib = 7\n'
                        '[kata]\nask_metadata_service = true\n'
                        '[kata_driver]\nforgotten_pods = delete\n')
        conf = cfg.ConfigOpts()
        opts.register_opts(conf)
        conf([], default_config_files=[str(file)])
        self.assertEqual(7, conf.compute.max_log_response_mib)
        self.assertTrue(conf.kata.use_metadata_service)
        self.assertEqual('delete', conf.kata_driver.orphaned_pod_action)

    def test_every_option_has_help(self):
        for group, options in opts.list_opts():
            for option in options:
                self.assertTrue(option.help, f'{group.name}.{option.name}')
