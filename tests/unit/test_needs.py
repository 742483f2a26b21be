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

"""Needs that follow from a request."""

import hypothesis
from hypothesis import strategies

from kata_openstack import exception
from kata_openstack import needs
from tests.unit import base

anything = strategies.one_of(
    strategies.none(), strategies.text(), strategies.integers(),
    strategies.lists(strategies.text()),
    strategies.lists(strategies.sampled_from(sorted(needs.NEEDS)),
                     max_size=3).map(','.join))
keys = strategies.sampled_from([
    needs.ANNOTATION_NEEDS, needs.ANNOTATION_ISOLATION,
    needs.PROPERTY_NEEDS, needs.PROPERTY_ISOLATION,
    needs.PROPERTY_ENCRYPTION, 'io.katacontainers.config.x'])


class TestDerive(base.TestCase):
    def test_nothing_asked(self):
        self.assertEqual(needs.Requirements(), needs.derive())

    def test_what_zun_says(self):
        found = needs.derive(privileged=True, cpus=2, memory_mib=512)
        self.assertEqual({'privileged'}, found.needs)
        self.assertEqual((2, 512), (found.cpus, found.memory_mib))

    def test_annotations_and_images_add_up(self):
        found = needs.derive(
            annotations={'kata-openstack.io/needs': 'resize, nydus',
                         'kata-openstack.io/isolation': 'confidential'},
            images=[{'kata_needs': 'gpu', 'kata_isolation': 'hardware'},
                    {'kata-openstack.io/needs': 'vm-template',
                     'maintainer': 'someone'}])
        self.assertEqual({'resize', 'nydus', 'gpu', 'vm-template'},
                         found.needs)
        self.assertEqual('confidential', found.isolation)

    def test_an_image_cannot_weaken_the_request(self):
        found = needs.derive(
            annotations={'kata-openstack.io/isolation': 'hardware'},
            images=[{'kata_isolation': 'none'},
                    {'kata-openstack.io/isolation': 'none'}])
        self.assertEqual('hardware', found.isolation)

    def test_novas_property_for_encrypted_memory(self):
        for value, level in (('True', 'confidential'), ('false', 'none'),
                             (True, 'confidential')):
            self.assertEqual(level, needs.derive(
                images=[{'hw_mem_encryption': value}]).isolation)

    def test_upstreams_annotations_have_no_effect(self):
        self.assertEqual(needs.Requirements(), needs.derive(
            annotations={'io.katacontainers.config.hypervisor.path': '/x'}))

    def test_nonsense_names_its_field(self):
        for kwargs in ({'annotations': {'kata-openstack.io/needs': 'wings'}},
                       {'annotations': {'kata-openstack.io/needs': ['x']}},
                       {'images': [{'kata_isolation': 'much'}]}):
            e = self.assertRaises(exception.InvalidInput,
                                  needs.derive, **kwargs)
            self.assertIn('Use one of: ', str(e))

    def test_a_long_value_is_cut(self):
        e = self.assertRaises(
            exception.InvalidInput, needs.derive,
            annotations={needs.ANNOTATION_NEEDS: 'x' * 100000})
        self.assertLess(len(str(e)), 1000)

    @hypothesis.given(strategies.dictionaries(keys, anything),
                      strategies.dictionaries(keys, anything))
    def test_only_our_errors(self, annotations, properties):
        try:
            found = needs.derive(annotations=annotations,
                                        images=[properties])
        except exception.InvalidInput:
            return
        self.assertLessEqual(found.needs, set(needs.NEEDS))
        self.assertIn(found.isolation, needs.ISOLATION)
