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
import tomllib

from oslo_config import cfg
from oslo_config import fixture as config_fixture

from kata_openstack.conf import opts
from kata_openstack import exception
from kata_openstack.runtime.containerd import config
from kata_openstack.runtime.hypervisors import base as hypervisors
from kata_openstack.runtime.hypervisors import upstream
from tests.unit import base

HANDLER = hypervisors.kata_handler('clh')
FILES = hypervisors.Files(runtime_path=pathlib.Path('/opt/shim'),
                          config_path=pathlib.Path('/opt/a "b".toml'))


class TestRender(base.TestCase):
    def setUp(self):
        super().setUp()
        self.conf = cfg.ConfigOpts()
        opts.register_opts(self.conf)
        self.config = self.useFixture(config_fixture.Config(self.conf))
        self.conf([], default_config_files=[])

    def render(self, version):
        return tomllib.loads(
            config.render(self.conf, {HANDLER: FILES}, version))

    def runtime(self, version, plugin='io.containerd.grpc.v1.cri'):
        return self.render(version)['plugins'][plugin]['containerd'][
            'runtimes']['kata-clh']

    def test_containerd_1_7(self):
        self.assertEqual(2, self.render('v1.7.24')['version'])
        self.assertEqual({
            'runtime_type': 'io.containerd.kata-clh.v2',
            'runtime_path': '/opt/shim',
            'privileged_without_host_devices': True,
            'pod_annotations': ['kata-openstack.io/*'],
            'container_annotations': [],
            'options': {'ConfigPath': '/opt/a "b".toml'},
        }, self.runtime('v1.7.24'))

    def test_containerd_1_6_takes_a_path_for_the_type(self):
        self.assertEqual(2, self.render('1.6.20~ds1')['version'])
        runtime = self.runtime('1.6.20~ds1')
        self.assertEqual('/opt/shim', runtime['runtime_type'])
        self.assertNotIn('runtime_path', runtime)

    def test_containerd_2(self):
        rendered = self.render('2.1.4')
        self.assertEqual(3, rendered['version'])
        self.assertEqual({'io.containerd.cri.v1.runtime'},
                         set(rendered['plugins']))

    def test_a_snapshotter(self):
        self.config.config(group='kata',
                           snapshotters={'kata-clh': 'devmapper'})
        for version, plugin in (('1.7', 'io.containerd.grpc.v1.cri'),
                                ('2.0', 'io.containerd.cri.v1.runtime')):
            self.assertEqual('devmapper', self.runtime(
                version, plugin)['snapshotter'])
        self.assertEqual(
            {'kata-clh': {'snapshotter': 'devmapper'}},
            self.render('2.0')['plugins']['io.containerd.cri.v1.images'][
                'runtime_platforms'])

    def test_a_snapshotter_that_containerd_1_6_would_ignore(self):
        self.config.config(group='kata',
                           snapshotters={'kata-clh': 'devmapper'})
        e = self.assertRaises(exception.InvalidInput, self.render, '1.6.20')
        self.assertIn('1.7', str(e))

    def test_a_snapshotter_that_the_hypervisor_needs(self):
        [handler] = upstream.Firecracker.facts.handlers

        def section(version):
            plugin = config.sections(self.conf, {handler: FILES}, version)[
                'io.containerd.grpc.v1.cri']
            return plugin['containerd']['runtimes']['kata-fc']

        self.assertEqual('devmapper', section('1.7')['snapshotter'])
        # containerd 1.6 has no snapshotter for each handler; the canary shows
        # whether the default one works
        self.assertNotIn('snapshotter', section('1.6.20'))
        self.config.config(group='kata', snapshotters={'kata-fc': 'blockfile'})
        self.assertEqual('blockfile', section('1.7')['snapshotter'])

    def test_too_old_or_no_version(self):
        for version in ('1.5.9', '0.2', 'latest', ''):
            self.assertRaises(exception.InvalidInput, self.render, version)
