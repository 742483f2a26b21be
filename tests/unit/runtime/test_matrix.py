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

"""The needs that each handler offers; upstream's as Kata 4.1 states them."""

import itertools

from oslo_config import cfg

from kata_openstack.conf import opts
from kata_openstack import exception
from kata_openstack import needs as pod_needs
from kata_openstack.runtime.hypervisors import loader
from kata_openstack.runtime import node
from kata_openstack.runtime import selection
from tests.unit import base
from tests.unit.runtime.host import hosts
from tests.unit.runtime.host import library

# Columns in this order; x: the handler offers the need.
COLUMNS = (
    'block-rootfs', 'block-volume', 'confidential', 'cpu-hotplug', 'gpu',
    'guest-pull', 'memory-hotplug', 'nydus', 'privileged', 'resize', 'se',
    'sev-snp', 'shared-fs', 'tdx', 'vfio', 'vm-template')
MATRIX = {
    #                                bbccggmnprssstvv
    'kata-qemu':                    'xx.x..xxxx..x.xx',
    'kata-qemu-runtime-rs':         'xx.x..xxxx..x.xx',
    'kata-qemu-nvidia-cpu':         'xx......x...x...',
    'kata-qemu-nvidia-cpu-runtime-rs': 'xx......x...x...',
    'kata-qemu-coco-dev':           '.x...x..x.......',
    'kata-qemu-coco-dev-runtime-rs': '.x...x..x.......',
    'kata-clh':                     'xx.x..xxx...x.x.',
    'kata-clh-runtime-rs':          'xx.....xx...x.xx',
    'kata-clh-azure':               'xx.....xx...x.x.',
    'kata-clh-azure-runtime-rs':    'xx.....xx...x.xx',
    'kata-fc':                      'xx......x.......',
    'kata-dragonball':              'xx.x..xxxx..x.xx',
    'kata-stratovirt':              '........x...x...',
    'kata-openvmm-azure-runtime-rs': '........x...x...',
    'kata-remote':                  '.....x..x.......',
    'kata-embedded':                '........x...x..x',
    'kata-qemu-snp':                '.xx..x..x..x....',
    'kata-qemu-snp-runtime-rs':     '.xx..x..x..x....',
    'kata-qemu-tdx':                '.xx..x..x....x..',
    'kata-qemu-tdx-runtime-rs':     '.xx..x..x....x..',
    'kata-qemu-se':                 '.xx..x..x.x.....',
    'kata-qemu-se-runtime-rs':      '.xx..x..x.x.....',
    'kata-qemu-nvidia-gpu':         'xx..x...x...x.x.',
    'kata-qemu-nvidia-gpu-runtime-rs': 'xx..x...x...x.x.',
    'kata-qemu-nvidia-gpu-snp':     '.xx.xx..x..x..x.',
    'kata-qemu-nvidia-gpu-snp-runtime-rs': '.xx.xx..x..x..x.',
    'kata-qemu-nvidia-gpu-tdx':     '.xx.xx..x....xx.',
    'kata-qemu-nvidia-gpu-tdx-runtime-rs': '.xx.xx..x....xx.',
}
OURS = ('qemu', 'clh', 'fc', 'dragonball', 'stratovirt', 'openvmm', 'remote',
        'embedded', 'qemu-snp', 'qemu-tdx', 'qemu-se', 'nvidia-gpu',
        'nvidia-gpu-snp', 'nvidia-gpu-tdx')


def candidates():
    return [selection.Candidate(handler=handler.name, hypervisor=name,
                                usable=True, reason='it runs',
                                offers=handler.offers)
            for name in OURS
            for handler in loader.installed()[name].facts.handlers]


class TestMatrix(base.TestCase):
    def test_every_need_has_a_column(self):
        self.assertEqual(sorted(pod_needs.NEEDS), list(COLUMNS))

    def test_every_pair(self):
        found = {c.handler: c for c in candidates()}
        self.assertEqual(set(MATRIX), set(found))
        for (handler, row), (at, need) in itertools.product(
                MATRIX.items(), enumerate(COLUMNS)):
            if row[at] == 'x':
                self.assertEqual(handler, selection.choose(
                    handler, [need], [found[handler]]).handler)
            else:
                e = self.assertRaises(
                    exception.NoHandler, selection.choose, handler, [need],
                    [found[handler]])
                self.assertIn(f'{handler}: it does not offer {need}', str(e))

    def test_every_pair_of_needs_goes_to_the_first_with_both(self):
        everything = candidates()
        order = [c.handler for c in everything]
        for one, two in itertools.combinations(range(len(COLUMNS)), 2):
            able = [h for h in order
                    if MATRIX[h][one] == MATRIX[h][two] == 'x']
            needs = [COLUMNS[one], COLUMNS[two]]
            if able:
                self.assertEqual(able[0], selection.choose(
                    'kata', needs, everything).handler)
            else:
                e = self.assertRaises(exception.NoHandler, selection.choose,
                                      'kata', needs, everything)
                for handler in order:
                    self.assertIn(f'{handler}: ', str(e))

    def test_firecracker_is_never_chosen_for_what_it_cannot(self):
        first = sorted(candidates(), key=lambda c: c.handler != 'kata-fc')
        for need in ('vfio', 'shared-fs', 'resize', 'cpu-hotplug',
                     'memory-hotplug'):
            self.assertNotEqual('kata-fc', selection.choose(
                'kata', [need], first).handler)
        self.assertEqual('kata-fc', selection.choose(
            'kata', ['block-volume'], first).handler)

    def test_the_packages_of_each_distribution_suffice(self):
        conf = cfg.ConfigOpts()
        opts.register_opts(conf)
        conf([], default_config_files=[])
        for name, known in library.DISTRIBUTIONS.items():
            here = node.Node(
                conf, host=hosts.recorded(self, **known.host).probe())
            for at, need in enumerate(COLUMNS):
                with self.subTest(f'{name}: {need}'):
                    if MATRIX['kata-embedded'][at] == 'x':
                        self.assertEqual('kata-embedded', here.choose(
                            'kata', [need]).handler)
                    else:
                        self.assertRaises(exception.NoHandler, here.choose,
                                          'kata', [need])
