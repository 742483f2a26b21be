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

import json
import pathlib
import time
from types import SimpleNamespace

import fixtures
from zun.compute import compute_node_tracker
from zun.compute import provider_tree
from zun.container import driver as zun_driver
from zun import objects as zun_objects

from kata_openstack import exception
from kata_openstack.zun_driver import container as module
from kata_openstack.zun_driver import host
from tests.unit.zun_driver import base


class TestResources(base.DriverTestCase):

    def setUp(self) -> None:
        super().setUp()
        self.driver = module.KataContainerDriver()

    def test_available_resources(self) -> None:
        found = self.driver.get_available_resources()
        self.assertEqual(['kata', 'kata-embedded'], found['runtimes'])
        self.assertEqual((4096, 1024, 2048, 2048), tuple(
            found[k] for k in ('mem_total', 'mem_free', 'mem_available',
                               'mem_used')))
        self.assertEqual(3, found['total_containers'])
        self.assertFalse(found['disk_quota_supported'])

    def test_zun_can_store_them(self) -> None:
        node = zun_objects.ComputeNode(self.context)
        node.hostname = base.HOST
        tracker = compute_node_tracker.ComputeNodeTracker(
            base.HOST, self.driver, None, None)
        tracker._copy_resources(node, self.driver.get_available_resources())
        node.create(self.context)
        found = zun_objects.ComputeNode.get_by_name(self.context, base.HOST)
        self.assertEqual(['kata', 'kata-embedded'], found.runtimes)
        self.assertEqual('x86_64', found.architecture)

    def test_no_answer_means_no_runtimes(self) -> None:
        self.driver.get_available_resources()
        self.api.fail['get_node_info'] = exception.NodeUnavailable(
            host='h', why='x')
        found = self.driver.get_available_resources()
        self.assertEqual([], found['runtimes'])
        self.assertGreater(found['mem_total'], 0)
        self.assertEqual({}, self.driver.capabilities_as_traits())

    def test_the_node_is_asked_once_for_a_create(self) -> None:
        tree, uuid = self.tree()
        self.driver.update_provider_tree(tree, uuid)
        self.driver.get_host_mem()
        self.assertEqual(['get_node_info'], [c[0] for c in self.api.calls])

    def test_the_node_is_asked_also_right_after_its_boot(self) -> None:
        """monotonic() is then less than the age of a report that is kept."""
        self._replace(time, 'monotonic', lambda: 5.0)
        self.assertEqual((4096 * 1024, 1024 * 1024),
                         self.driver.get_host_mem()[:2])
        self.assertEqual(['get_node_info'], [c[0] for c in self.api.calls])

    def tree(self, generation=5):
        # a tree can only be copied with eventlet's locks
        self._replace(zun_driver, 'copy', SimpleNamespace(
            deepcopy=lambda tree: tree))
        tree = provider_tree.ProviderTree()
        uuid = tree.new_root('node', '6c6bcd3e-0000-4000-8000-000000000001',
                             generation=generation)
        tree.update_traits(uuid, ['CUSTOM_KATA_OLD', 'CUSTOM_OTHER'])
        return tree, uuid

    def test_traits(self) -> None:
        tree, uuid = self.tree()
        self.generation = 5
        self.driver.update_provider_tree(tree, uuid)
        self.assertEqual({'CUSTOM_KATA': True, 'CUSTOM_KATA_EMBEDDED': True,
                          'CUSTOM_KATA_OLD': False},
                         self.driver.capabilities_as_traits())
        self.assertEqual(4096, tree.data(uuid).inventory[
            'MEMORY_MB']['total'])

    def test_memory_that_no_pod_can_have_is_reserved(self) -> None:
        tree, uuid = self.tree()
        self.generation = 5
        for held_back, reserved in ((900, 900), (9999, 4095), (0, 512)):
            self.api.node_info['mem_held_back'] = held_back
            self.driver.get_available_resources()
            self.driver.update_provider_tree(tree, uuid)
            found = tree.data(uuid).inventory['MEMORY_MB']
            self.assertEqual((reserved, 1.0), (found['reserved'],
                                               found['allocation_ratio']))

    def test_reserved_memory_stays_while_the_node_does_not_answer(
            self) -> None:
        tree, uuid = self.tree()
        self.generation = 5
        self.api.node_info['mem_held_back'] = 900
        self.driver.update_provider_tree(tree, uuid)
        self.api.fail['get_node_info'] = exception.NodeUnavailable(
            host='h', why='x')
        self.driver.get_available_resources()
        self.driver.update_provider_tree(tree, uuid)
        self.assertEqual(900, tree.data(uuid).inventory['MEMORY_MB'][
            'reserved'])

    def test_disk(self) -> None:
        tree, uuid = self.tree()
        self.generation = 5
        # the node refuses a limit that it cannot keep, with the reason
        self.assertTrue(self.driver.node_support_disk_quota())
        self.assertFalse(self.driver.get_available_resources()[
            'disk_quota_supported'])
        self.api.node_info.update(disk_quota_supported=True, disk_total=900,
                                  disk_held_back=350)
        found = self.driver.get_available_resources()
        self.assertEqual((550, True), (found['disk_total'],
                                       found['disk_quota_supported']))
        # the last known stays
        self.api.fail['get_node_info'] = exception.NodeUnavailable(
            host='h', why='x')
        self.driver.get_available_resources()
        self.driver.update_provider_tree(tree, uuid)
        disk = tree.data(uuid).inventory['DISK_GB']
        self.assertEqual((900, 350), (disk['total'], disk['reserved']))
        self.assertTrue(self.driver.get_available_resources()[
            'disk_quota_supported'])

    def test_no_update_that_placement_would_refuse(self) -> None:
        """A refusal makes Zun leave the new container in Creating."""
        tree, uuid = self.tree()
        self.generation = 6
        before = tree.data(uuid)
        self.driver.update_provider_tree(tree, uuid)
        self.assertEqual({'CUSTOM_KATA_OLD': True},
                         self.driver.capabilities_as_traits())
        self.assertEqual(before, tree.data(uuid))

    def test_placement_is_asked_only_about_changes(self) -> None:
        tree, uuid = self.tree()
        self.generation = 5
        self.driver.update_provider_tree(tree, uuid)
        tree.update_traits(uuid, ['CUSTOM_KATA', 'CUSTOM_KATA_EMBEDDED',
                                  'CUSTOM_KATAMARAN'])
        self._replace(self, 'get', None)
        self.driver.update_provider_tree(tree, uuid)
        self.assertEqual({'CUSTOM_KATA': True, 'CUSTOM_KATA_EMBEDDED': True},
                         self.driver.capabilities_as_traits())

    def test_a_node_that_runs_no_pods_loses_all_traits(self) -> None:
        tree, uuid = self.tree()
        self.generation = 5
        tree.update_traits(uuid, ['CUSTOM_KATA', 'CUSTOM_KATA_EMBEDDED'])
        self.api.node_info['traits'] = {}
        self.driver.update_provider_tree(tree, uuid)
        self.assertEqual({'CUSTOM_KATA': False, 'CUSTOM_KATA_EMBEDDED': False},
                         self.driver.capabilities_as_traits())

    def test_no_devices(self) -> None:
        self.assertEqual([], json.loads(self.driver.get_pci_resources()))


class TestNuma(base.DriverTestCase):

    def test_recorded(self) -> None:
        root = self.create_tempdir()
        for number, cpus in ((0, '0-1,4'), (1, '2')):
            node = root / f'node{number}'
            node.mkdir()
            (node / 'cpulist').write_text(cpus + '\n')
            (node / 'meminfo').write_text(
                f'Node {number} MemTotal:       2048 kB\n')
        first, second = host.numa_topology(root).nodes
        self.assertEqual(({0, 1, 4}, 2), (first.cpuset, first.mem_total))
        self.assertEqual(({2}, 1), (second.cpuset, second.id))

    def test_nothing_to_read(self) -> None:
        (node,) = host.numa_topology(self.create_tempdir()).nodes
        self.assertGreater(node.mem_total, 0)
        self.assertIn(0, node.cpuset)

    def create_tempdir(self):
        return pathlib.Path(self.useFixture(fixtures.TempDir()).path)
