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

from unittest import mock

import fixtures
from oslo_config import cfg

from kata_openstack.conf import opts
from kata_openstack.runtime.embedded.image import errors
from kata_openstack.runtime.embedded.image import preparation
from kata_openstack.runtime.host import roots
from tests.unit import base
from tests.unit.runtime.host import hosts


class TestPrograms(base.TestCase):
    def test_a_missing_program_is_told_as_the_host_check_tells_it(self):
        conf = cfg.ConfigOpts()
        opts.register_opts(conf)
        conf([], default_config_files=[])
        record = hosts.recorded(
            self, programs=('qemu-system-x86_64',),
            files={'etc/os-release': 'ID=debian\nVERSION_ID="13"\n'})
        self.useFixture(fixtures.MonkeyPatch(
            'platform.machine', lambda: 'x86_64'))
        with mock.patch.object(roots.Roots, 'configured',
                               return_value=record.roots):
            error = self.assertRaises(errors.ProgramMissing,
                                      preparation.prepare, conf, 'tcg', print)
        known = record.probe().virtiofsd
        self.assertEqual(f'{known.reason}. {known.remedy}', str(error))
        self.assertIn('apt-get install virtiofsd', known.remedy)
