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

import dataclasses

import hypothesis
from hypothesis import strategies

from kata_openstack import exception
from kata_openstack import needs as pod_needs
from kata_openstack.runtime import selection
from tests.unit import base

NEEDS = ['block-rootfs', 'confidential', 'resize', 'vfio']


def candidate(handler='kata-qemu', usable=True, offers=(), reason='because',
              **kwargs):
    return selection.Candidate(
        handler=handler, hypervisor='x', usable=usable, reason=reason,
        offers=frozenset(offers), **kwargs)


needs_lists = strategies.lists(strategies.sampled_from(NEEDS))
levels = strategies.sampled_from(pod_needs.ISOLATION)
sizes = strategies.none() | strategies.integers(1, 64)
candidate_lists = strategies.lists(
    strategies.builds(
        candidate,
        handler=strategies.integers(0, 9).map('kata-{}'.format),
        usable=strategies.booleans(), offers=needs_lists,
        isolation=levels, max_vcpus=sizes, min_memory_mib=sizes),
    unique_by=lambda c: c.handler, max_size=6)
policies = strategies.fixed_dictionaries({
    'isolation': levels, 'cpus': sizes, 'memory_mib': sizes,
    'allowed': strategies.none() | strategies.sets(
        strategies.integers(0, 9).map('kata-{}'.format))})


def satisfies(chosen, needs, isolation='none', allowed=None, cpus=None,
              memory_mib=None):
    """The expected result, computed in another way than in the product."""
    strength = {'none': 0, 'hardware': 1, 'confidential': 2}
    return all((
        chosen.usable, set(needs) <= chosen.offers,
        strength[chosen.isolation] >= strength[isolation],
        allowed is None or chosen.handler in allowed,
        (cpus or 0) <= (chosen.max_vcpus or float('inf')),
        (memory_mib or float('inf')) >= (chosen.min_memory_mib or 0)))


class TestChoose(base.TestCase):
    def test_the_first_that_satisfies(self):
        candidates = [candidate('a', usable=False), candidate('b'),
                      candidate('c', offers=['vfio']),
                      candidate('d', offers=['vfio'])]
        self.assertEqual(
            'b', selection.choose('kata', [], candidates).handler)
        self.assertEqual(
            'c', selection.choose('kata', ['vfio'], candidates).handler)

    def test_an_explicit_handler_is_not_replaced(self):
        candidates = [candidate('a'), candidate('b', usable=False)]
        e = self.assertRaises(exception.NoHandler, selection.choose, 'b', [],
                              candidates)
        self.assertIn('b: because', str(e))
        self.assertNotIn('a:', str(e))

    def test_unknown_runtime(self):
        e = self.assertRaises(exception.UnknownRuntime, selection.choose,
                              'runc', [], [candidate('a')])
        self.assertIn('kata, a', str(e))

    def test_each_hypervisor_has_its_first_reason(self):
        e = self.assertRaises(
            exception.NoHandler, selection.choose, 'kata', ['vfio'],
            [candidate('a', usable=False, reason='it is off'),
             candidate('b')])
        self.assertIn('a: it is off; b: it does not offer vfio', str(e))

    def test_nothing_at_all(self):
        self.assertRaises(exception.NoHandler, selection.choose, 'kata', [],
                          [])

    @hypothesis.given(needs_lists, candidate_lists, policies)
    def test_total_sound_and_in_order(self, needs, candidates, policy):
        try:
            chosen = selection.choose('kata', needs, candidates, **policy)
        except exception.NoHandler as e:
            self.assertFalse([c for c in candidates
                              if satisfies(c, needs, **policy)])
            for c in candidates:
                self.assertIn(f'{c.handler}: ', str(e))
        else:
            self.assertTrue(satisfies(chosen, needs, **policy))
            before = candidates[:candidates.index(chosen)]
            self.assertFalse([c for c in before
                              if satisfies(c, needs, **policy)])

    @hypothesis.given(needs_lists, candidate_lists, policies, needs_lists,
                      strategies.booleans())
    def test_more_never_turns_yes_into_no(self, needs, candidates, policy,
                                          more, confidential):
        try:
            selection.choose('kata', needs, candidates, **policy)
        except exception.NoHandler:
            return
        selection.choose('kata', needs, [dataclasses.replace(
            c, offers=c.offers | set(more), usable=True,
            isolation='confidential' if confidential else c.isolation)
            for c in candidates], **policy)

    @hypothesis.given(needs_lists, candidate_lists, policies, needs_lists)
    def test_asking_for_more_never_helps(self, needs, candidates, policy,
                                         more):
        try:
            selection.choose('kata', needs + more, candidates, **policy)
        except exception.NoHandler:
            return
        selection.choose('kata', needs, candidates, **policy)

    @hypothesis.given(strategies.text(), strategies.lists(strategies.text()),
                      candidate_lists)
    def test_anything_may_be_asked(self, runtime, needs, candidates):
        try:
            chosen = selection.choose(runtime, needs, candidates)
        except (exception.NoHandler, exception.UnknownRuntime):
            return
        self.assertIn(runtime, (selection.ANY, chosen.handler))
        self.assertTrue(satisfies(chosen, needs))

    @hypothesis.given(candidate_lists, strategies.text())
    def test_an_unknown_isolation_satisfies_nobody(self, candidates, level):
        hypothesis.assume(level not in pod_needs.ISOLATION)
        self.assertRaises(exception.NoHandler, selection.choose, 'kata', [],
                          candidates, isolation=level)


class TestReasons(base.TestCase):
    def why(self, *candidates, needs=(), **policy):
        return str(self.assertRaises(
            exception.NoHandler, selection.choose, 'kata', needs,
            list(candidates), **policy))

    def test_policy_goes_first(self):
        self.assertIn('a: [kata] allowed_handlers does not name it',
                      self.why(candidate('a', usable=False), allowed={'b'}))

    def test_isolation(self):
        self.assertIn('a: its isolation is hardware, not confidential',
                      self.why(candidate('a', isolation='hardware'),
                               isolation='confidential'))

    def test_withheld(self):
        self.assertIn('a: it does not offer vfio here: no IOMMU',
                      self.why(candidate('a', withheld={'vfio': 'no IOMMU'}),
                               needs=['vfio']))

    def test_size(self):
        small = candidate('a', max_vcpus=32, min_memory_mib=128)
        self.assertIn('32 vCPUs at most, not 33',
                      self.why(small, cpus=33))
        self.assertIn('128 MiB of memory at least, not 64',
                      self.why(small, memory_mib=64))

    def test_a_reason_is_never_empty(self):
        self.assertIn('a: it is not usable',
                      self.why(candidate('a', usable=False, reason='')))

    def test_names_of_former_times(self):
        for name, successor in (
                ('nemu', 'kata-clh'), ('runv', 'kata-qemu'),
                ('cc-runtime', 'kata-qemu'), ('Clear_Containers',
                                              'kata-qemu'),
                ('kata-runtime', 'kata-qemu'),
                ('kata-firecracker', 'kata-fc')):
            e = self.assertRaises(exception.UnknownRuntime,
                                  selection.choose, name, [],
                                  [candidate('a')])
            self.assertIn(f'Use {successor}', str(e))
