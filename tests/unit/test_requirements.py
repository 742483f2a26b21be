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

"""What a request shows of its needs."""

import hypothesis
from hypothesis import strategies

from kata_openstack import exception
from kata_openstack import requirements
from tests.unit import base

anything = strategies.one_of(
    strategies.none(), strategies.text(), strategies.integers(),
    strategies.lists(strategies.text()),
    strategies.lists(strategies.sampled_from(sorted(requirements.NEEDS)),
                     max_size=3).map(','.join))
keys = strategies.sampled_from([
    requirements.ANNOTATION_NEEDS, requirements.ANNOTATION_ISOLATION,
    requirements.PROPERTY_NEEDS, requirements.PROPERTY_ISOLATION,
    requirements.PROPERTY_ENCRYPTION, 'io.katacontainers.config.x'])


class TestDerive(base.TestCase):
    def test_nothing_asked(self):
        self.assertEqual(requirements.Requirements(), requirements.derive())

    def test_what_zun_says(self):
        found = requirements.derive(pci_devices=1, privileged=True, cpus=2,
                                    volumes=['file', 'block', 'file'],
                                    memory_mib=512)
        self.assertEqual(
            {'vfio', 'privileged', 'shared-fs', 'block-volume'}, found.needs)
        self.assertEqual((2, 512), (found.cpus, found.memory_mib))

    def test_annotations_and_images_add_up(self):
        found = requirements.derive(
            annotations={'kata-openstack.io/needs': 'resize, nydus',
                         'kata-openstack.io/isolation': 'confidential'},
            images=[{'kata_needs': 'gpu', 'kata_isolation': 'hardware'},
                    {'kata-openstack.io/needs': 'vm-template',
                     'maintainer': 'somebody'}])
        self.assertEqual({'resize', 'nydus', 'gpu', 'vm-template'},
                         found.needs)
        self.assertEqual('confidential', found.isolation)

    def test_an_image_cannot_weaken_the_request(self):
        found = requirements.derive(
            annotations={'kata-openstack.io/isolation': 'hardware'},
            images=[{'kata_isolation': 'none'},
                    {'kata-openstack.io/isolation': 'none'}])
        self.assertEqual('hardware', found.isolation)

    def test_novas_property_for_encrypted_memory(self):
        for value, level in (('True', 'confidential'), ('false', 'none'),
                             (True, 'confidential')):
            self.assertEqual(level, requirements.derive(
                images=[{'hw_mem_encryption': value}]).isolation)

    def test_upstreams_annotations_have_no_effect(self):
        self.assertEqual(requirements.Requirements(), requirements.derive(
            annotations={'io.katacontainers.config.hypervisor.path': '/x'}))

    def test_nonsense_names_its_field(self):
        for kwargs in ({'annotations': {'kata-openstack.io/needs': 'wings'}},
                       {'annotations': {'kata-openstack.io/needs': ['x']}},
                       {'images': [{'kata_isolation': 'much'}]},
                       {'volumes': ['tape']}):
            e = self.assertRaises(exception.InvalidInput,
                                  requirements.derive, **kwargs)
            self.assertIn('Use: ', str(e))

    def test_a_long_value_is_cut(self):
        e = self.assertRaises(
            exception.InvalidInput, requirements.derive,
            annotations={requirements.ANNOTATION_NEEDS: 'x' * 100000})
        self.assertLess(len(str(e)), 1000)

    @hypothesis.given(strategies.dictionaries(keys, anything),
                      strategies.dictionaries(keys, anything))
    def test_only_our_errors(self, annotations, properties):
        try:
            found = requirements.derive(annotations=annotations,
                                        images=[properties])
        except exception.InvalidInput:
            return
        self.assertLessEqual(found.needs, set(requirements.NEEDS))
        self.assertIn(found.isolation, requirements.ISOLATION)
