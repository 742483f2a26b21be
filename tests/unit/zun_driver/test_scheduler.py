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

from types import SimpleNamespace

from zun.scheduler import filter_scheduler
from zun.scheduler import filters

from kata_openstack.zun_driver import scheduler as module
from tests.unit.zun_driver import base


class TestRuntimeFilter(base.DriverTestCase):

    HOSTS = [SimpleNamespace(host='a', runtimes=['kata', 'kata-qemu']),
             SimpleNamespace(host='b', runtimes=['kata', 'kata-clh']),
             SimpleNamespace(host='c', runtimes=None)]

    def pick(self, runtime):
        handler = filters.HostFilterHandler()
        found = handler.get_filtered_objects(
            [module.KataRuntimeFilter()], self.HOSTS,
            SimpleNamespace(uuid='u', runtime=runtime), {})
        return [host.host for host in found]

    def test_filter(self) -> None:
        self.assertEqual(['a', 'b', 'c'], self.pick(None))
        self.assertEqual(['a', 'b'], self.pick('kata'))
        self.assertEqual(['b'], self.pick('kata-clh'))

    def test_unknown_runtime_reaches_a_host_that_explains(self) -> None:
        self.assertEqual(['a', 'b', 'c'], self.pick('nonsense'))

    def test_loaded_as_the_docstring_says(self) -> None:
        self.config('scheduler', available_filters=[
            'zun.scheduler.filters.all_filters',
            'kata_openstack.zun_driver.scheduler.KataRuntimeFilter'],
            enabled_filters=['ComputeFilter', 'KataRuntimeFilter'])
        scheduler = filter_scheduler.FilterScheduler()
        self.assertIn(module.KataRuntimeFilter,
                      [type(f) for f in scheduler.enabled_filters])
