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

"""What an older release stored on a node is read.

The folder ``stored`` has its files, one folder for each commit. There,
``vifs.json`` is a sandbox's annotation, and ``cni_metadata.json`` belongs to
a container in Zun's database.
"""

import json
import pathlib

import fixtures
from oslo_config import cfg

from kata_openstack.cmd import status
from kata_openstack.compute.events import journal
from kata_openstack.compute.pods import labels
from kata_openstack.compute.pods import view
from kata_openstack.conf import opts
from kata_openstack.runtime.canary import records
from kata_openstack.runtime.containerd import install
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.shim import state
from kata_openstack.runtime.host import cache
from kata_openstack.runtime.host import facts
from kata_openstack.runtime.hypervisors import loader
from tests.unit import base
from tests.unit.runtime.embedded.vm import test_placing

STORED = pathlib.Path(__file__).parent / 'stored' / 'd6320ff'
SANDBOX = '5f1c' * 16
CONTAINER = 'c0de' * 16
POD = '6b1f7a0e-2f5c-4c38-8a11-90a7e2b3c4d5'
REMOVED = ['[embedded] memory_path', '[notifications] enabled']
BOOT = '9d0c5c1e-6f0f-4b0a-8d53-6a1f3a3d2f10'


class StoredTest(base.TestCase):
    """Reads each file as it is, and with fields of a later release."""

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def variants(self, name, *places):
        """Yield paths of the file, also with unknown fields.

        :param places: return a dictionary of the content that gets one
        """
        content = json.loads((STORED / name).read_text())
        for later in (False, True):
            if later:
                for place in places:
                    place(content)['later'] = {'a': [1]}
            path = self.folder / name
            path.write_text(json.dumps(content))
            yield path

    def broken(self, name):
        """Yield paths of damaged files."""
        text = (STORED / name).read_text()
        for content in (text[:-10], '', '[]', 'null', '{"a": 1}', '\0'):
            path = self.folder / name
            path.write_text(content)
            yield path

    def test_state_of_a_shim(self):
        config = test_placing.config(run_path=str(self.folder))
        (self.folder / 's').mkdir()
        for path in self.variants('state.json', lambda c: c):
            path.replace(self.folder / 's' / 'state.json')
            found = state.State.load(config, 's')
            self.assertEqual((SANDBOX, f'/k8s.io/{SANDBOX}', 1900000042),
                             (found.sandbox, found.cgroup, found.uid))
            self.assertEqual((4711, 4712, 4713, 0),
                             (found.shim, found.qemu, found.virtiofsd,
                              found.virtiofsd_live))
        for path in self.broken('state.json'):
            path.replace(self.folder / 's' / 'state.json')
            self.assertIsNone(state.State.load(config, 's'))

    def test_settings_of_the_shim(self):
        for path in self.variants('embedded.json', lambda c: c):
            found = settings.Settings.load(str(path))
            self.assertEqual('/run/kata-openstack/embedded', found.run_path)
            self.assertEqual((1900000000, 65536),
                             (found.first_uid, found.uids))
            self.assertTrue(found.outdated)  # only a clean-up can use them
        for path in self.broken('embedded.json'):
            self.assertRaises(ValueError, settings.Settings.load, str(path))

    def test_journal(self):
        for path in self.variants('events.json', lambda c: c[SANDBOX],
                                  lambda c: c[CONTAINER]):
            found = journal.Journal(path)
            self.assertFalse(found.fresh)
            self.assertEqual(
                (True, 'started'),
                (found[SANDBOX].sandbox, found[SANDBOX].phase))
            self.assertEqual(
                (POD, 'exited', True),
                (found[CONTAINER].labels[labels.CONTAINER],
                 found[CONTAINER].phase, found[CONTAINER].oom))
        for path in self.broken('events.json'):
            self.assertEqual({}, journal.Journal(path))

    def test_canaries(self):
        # another format: the canaries run again
        self.assertEqual({}, records.load(STORED / 'canary.json', BOOT))
        for path in self.variants('canary.json', lambda c: c,
                                  lambda c: c['handlers']['kata-embedded']):
            content = json.loads(path.read_text())
            content['format'] = records._FORMAT
            path.write_text(json.dumps(content))
            self.assertEqual(
                {'kata-embedded': records.Record(
                    key='abcd', passed=False, at=1767225600.5, seconds=3.25,
                    error='injected', failures=2)},
                records.load(path, BOOT))
        for path in self.broken('canary.json'):
            self.assertEqual({}, records.load(path, BOOT))

    def test_measurement_of_kvm(self):
        key = [3, BOOT, 0, 2792, 8624, 0, 107, 1767225600000000000]
        for path in self.variants('kvm.json', lambda c: c,
                                  lambda c: c['kvm']):
            found, versions = cache.load(path, key)
            self.assertEqual((facts.KvmState.HARDWARE, 1.5),
                             (found.state, found.entry_us))
            self.assertIn('/usr/bin/qemu-system-x86_64', versions)
        for path in self.broken('kvm.json'):
            self.assertEqual((None, {}), cache.load(path, key))

    def test_additions_to_containerd(self):
        for path in self.variants('containerd.json', lambda c: c):
            found = install._read_record(path)
            self.assertEqual((['kata-embedded'], True),
                             (found.handlers, found.registry))
        path.write_text('{}')
        self.assertEqual(install._Record(), install._read_record(path))

    def test_vifs(self):
        for path in self.variants(
                'vifs.json', lambda c: c[0], lambda c: c[0]['fixed_ips'][0],
                lambda c: c[0]['fixed_ips'][0]['routes'][0]):
            found = view.vifs(pb.PodSandbox(annotations={
                labels.VIFS: path.read_text()}))
            self.assertTrue(found.complete)
            (vif,) = found.readable
            self.assertEqual({vif.port_id}, found.port_ids)
            self.assertEqual(
                ('ovs', 1450, 'br-int', '10.0.0.1', '10.0.0.2'),
                (vif.vif_type, vif.mtu, vif.details['bridge_name'],
                 vif.fixed_ips[0].gateway,
                 vif.fixed_ips[0].routes[0].gateway))

    def test_configuration(self):
        """Each option has its effect, or is one that was removed."""
        conf = cfg.ConfigOpts()
        opts.register_opts(conf)
        file = str(STORED / 'kata.conf')
        conf([], default_config_files=[file])
        self.assertEqual(
            [f'{name} in {file} is unknown: remove or correct it.'
             for name in REMOVED],
            [line for line in status._outdated(file)
             if 'is unknown' in line])
        sections = {}
        cfg.ConfigParser(file, sections).parse()
        for group, known in opts.list_opts():
            values = conf if group.name == 'DEFAULT' else conf[group.name]
            for opt in known:
                for name in (opt.name, *(
                        old.name for old in opt.deprecated_opts)):
                    for text in sections.get(group.name, {}).get(name, []):
                        self.assertEqual(opt.type(text), values[opt.dest])

    def test_names_of_hypervisors(self):
        sections = {}
        cfg.ConfigParser(str(STORED / 'kata.conf'), sections).parse()
        order = sections['kata']['hypervisor_order'][0].split(', ')
        self.assertEqual([], [
            name for name in order if name not in loader.installed()])
