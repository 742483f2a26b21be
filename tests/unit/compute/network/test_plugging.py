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

import contextlib
import json
import uuid

import fixtures
import grpc
from tests.unit import base
from tests.unit import fake_containerd

from kata_openstack.compute.network import plugging
from kata_openstack.compute.network.vif import base as vif_base
from kata_openstack.compute.pods import labels
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb


class Plugin(vif_base.VifPlugin):

    def __init__(self, conf=None):
        super().__init__(conf)
        self.calls = []
        self.fail_on = None

    def plug(self, vif, netns, ifname, *, pod_uuid, sandbox_id):
        if vif.port_id == self.fail_on:
            raise exception.NetworkFailed(id=vif.port_id, why='injected',
                                          remedy='')
        self.calls.append(('plug', vif.port_id, ifname, sandbox_id))

    def unplug(self, vif):
        if self.fail_on == 'unplug':
            raise exception.NetworkFailed(id=vif.port_id, why='injected',
                                          remedy='')
        self.calls.append(('unplug', vif.port_id))

    def reconcile(self, port_ids):
        self.calls.append(('reconcile', port_ids()))
        return []


def make_vif(port, **fields):
    return objects.Vif(**{
        'port_id': port, 'network_id': 'n', 'mac_address': 'm',
        'vif_type': 'test', 'fixed_ips': [objects.FixedIP(
            address='192.0.2.5', prefixlen=24, gateway='192.0.2.1',
            routes=[objects.Route(destination='198.51.100.0/24',
                                  gateway='192.0.2.2')])], **fields})


class Case(base.TestCase):

    def setUp(self):
        super().setUp()
        self.fake = self.useFixture(fake_containerd.FakeContainerd())
        client = cri.CriClient(self.fake.conf)
        self.addCleanup(client.close)
        self.network = plugging.Network(self.fake.conf, client)
        self.plugin = Plugin()
        self.network._plugins = {'test': self.plugin}

    def sandbox(self, ident, pod, *vifs):
        self.fake.state.sandboxes[ident] = pb.PodSandbox(
            id=ident, labels={labels.POD: pod}, annotations={
                labels.VIFS: json.dumps([v.to_dict() for v in vifs])})


class NetworkTest(Case):

    def test_add(self):
        with self.network.expect('pod', [make_vif('a'), make_vif('b')]):
            result = self.network.add('pod', 'sandbox', '/netns')
        self.assertEqual([('plug', 'a', 'eth0', 'sandbox'),
                          ('plug', 'b', 'eth1', 'sandbox')],
                         self.plugin.calls)
        self.assertEqual(['eth0', 'eth1'],
                         [i['name'] for i in result['interfaces']])
        self.assertEqual(
            {'address': '192.0.2.5/24', 'interface': 1,
             'gateway': '192.0.2.1'}, result['ips'][1])
        self.assertEqual({'dst': '198.51.100.0/24', 'gw': '192.0.2.2'},
                         result['routes'][0])

    def test_add_of_the_unexpected(self):
        self.assertRaises(exception.NotFound, self.network.add, 'pod', 's',
                          '/netns')

    def test_failing_add_unplugs_and_is_told_as_it_was(self):
        """containerd returns only the text of the error, not its class."""
        self.plugin.fail_on = 'b'

        def run():
            with self.network.expect('pod', [make_vif('a'), make_vif('b')]):
                self.assertRaises(exception.NetworkFailed, self.network.add,
                                  'pod', 's', '/netns')
                raise exception.RuntimeFailed(operation='o', why='cni')
        error = self.assertRaises(exception.NetworkFailed, run)
        self.assertIn('injected', str(error))
        self.assertEqual(('unplug', 'a'), self.plugin.calls[-1])

    def test_an_unexpected_error_unplugs_too(self):
        plug = self.plugin.plug

        def fail(vif, *args, **kwargs):
            if vif.port_id == 'b':
                raise OSError('ioctl')
            plug(vif, *args, **kwargs)
        self.plugin.plug = fail
        with self.network.expect('pod', [make_vif('a'), make_vif('b')]):
            self.assertRaises(OSError, self.network.add, 'pod', 's', '/netns')
        self.assertEqual(('unplug', 'a'), self.plugin.calls[-1])

    def late(self, meanwhile):
        """Let ``meanwhile`` run during an ADD, which then plugs port b."""
        self.network._unclean = False
        plug = self.plugin.plug

        def plug_late(vif, *args, **kwargs):
            if vif.port_id == 'b':
                meanwhile()
                self.plugin.calls.clear()
            plug(vif, *args, **kwargs)
        self.plugin.plug = plug_late
        error = self.assertRaises(exception.NetworkFailed, self.network.add,
                                  'pod', 's', '/netns')
        self.assertIn('no longer', str(error))
        self.assertTrue(self.network._unclean)
        self.assertEqual({}, self.network._failures)

    def test_an_add_that_outlives_its_sandbox_plugs_nothing(self):
        """kata-cni gave up, and containerd has already sent the DEL."""
        self.aliases(b='s')
        with self.network.expect('pod', [make_vif('a'), make_vif('b')]):
            self.late(lambda: self.network.delete('pod', 's'))
        self.assertEqual([('plug', 'b', 'eth1', 's'), ('unplug', 'b')],
                         self.plugin.calls)
        self.assertEqual({}, self.network._deleted)

    def test_an_add_that_outlives_the_creation_plugs_nothing(self):
        self.aliases(a='s', b='s')
        with contextlib.ExitStack() as creation:
            creation.enter_context(self.network.expect(
                'pod', [make_vif('a'), make_vif('b')]))
            self.late(creation.close)
        self.assertEqual([('unplug', 'a'), ('unplug', 'b')],
                         self.plugin.calls[1:])

    def test_a_late_add_leaves_the_ports_of_the_next_sandbox(self):
        self.aliases(a='next')
        with contextlib.ExitStack() as creation:
            creation.enter_context(self.network.expect(
                'pod', [make_vif('a'), make_vif('b')]))
            self.late(creation.close)
        self.assertNotIn('unplug', [call[0] for call in self.plugin.calls])

    def test_the_end_of_a_former_sandbox_disturbs_no_add(self):
        with self.network.expect('pod', [make_vif('a')]):
            self.network.delete('pod', 'old')
            self.network.add('pod', 'new', '/netns')

    def test_refused_before_anything_is_made(self):
        for vif, words in [
                (make_vif('a', fixed_ips=[]), 'Add a subnet'),
                (make_vif('a', vif_type='binding_failed'),
                 'Check that the Neutron agent')]:
            with self.assertRaisesRegex(exception.NetworkFailed, words):
                with self.network.expect('pod', [vif]):
                    self.fail('not reached')

    def test_no_vif(self):
        with self.network.expect('pod', []):
            result = self.network.add('pod', 's', '/netns')
        self.assertEqual('eth0', result['interfaces'][0]['name'])
        self.assertEqual(1, len(result['ips']))

    def test_delete_of_a_former_sandbox_leaves_the_new_ones_ports(self):
        self.sandbox('old', 'pod', make_vif('lo-port'))
        self.sandbox('new', 'pod', make_vif('lo-port'))
        aliases = {'tap' + 'lo-port': 'new'}
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.compute.network.vif.link.alias',
            lambda device: aliases.get(device, '')))
        self.network.delete('pod', 'old')
        self.assertEqual([], self.plugin.calls)
        self.network.delete('pod', 'new')
        self.assertEqual([('unplug', 'lo-port')], self.plugin.calls)

    def test_delete_of_the_unknown(self):
        self.sandbox('one', 'pod', make_vif('a'))
        self.sandbox('two', 'other', make_vif('b'))
        for pod, sandbox in (('pod', 'gone'), ('gone', 'gone'),
                             ('pod', 'two'), ('gone', 'one')):
            self.network.delete(pod, sandbox)
        self.assertEqual([], self.plugin.calls)
        self.network.delete('pod', 'one')
        self.assertEqual([('unplug', 'a')], self.plugin.calls)

    def aliases(self, **aliases):
        """Set the sandbox that owns each port's interface."""
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.compute.network.vif.link.alias',
            lambda device: aliases.get(device.removeprefix('tap'), '')))

    def test_release_leaves_what_another_sandbox_has(self):
        self.aliases(a='s', b='other')
        self.network.release('pod', [pb.PodSandbox(id='s')], [
            make_vif('a'), make_vif('b'), make_vif('c')])
        self.assertEqual([('unplug', 'a'), ('unplug', 'c')],
                         self.plugin.calls)
        self.network._unclean = False
        self.network.release('pod', [pb.PodSandbox(id='s')], [make_vif('b')])
        self.assertTrue(self.network._unclean)  # reconcile decides later

    def test_release_leaves_what_another_pod_waits_for(self):
        self.sandbox('s', 'pod', make_vif('a'))
        self.sandbox('t', 'stopped', make_vif('b'))
        with self.network.expect('made', [make_vif('c')]):
            self.network.release('pod', [pb.PodSandbox(id='s')], [
                make_vif('a'), make_vif('b'), make_vif('c')])
        self.assertEqual([('unplug', 'a')], self.plugin.calls)

    def test_release_while_containerd_is_down(self):
        """Without containerd, the owner of a port is unknown."""
        self.fake.state.fail['ListPodSandbox'] = (
            grpc.StatusCode.UNAVAILABLE, 'injected')
        self.network._unclean = False
        self.network.release('pod', [pb.PodSandbox(id='s')], [make_vif('a')])
        self.assertEqual([], self.plugin.calls)
        self.assertTrue(self.network._unclean)

    def unreadable(self, *ports):
        """Annotations of other releases, or damaged: they name the ports."""
        items = [{'port_id': port, 'colour': 'red'} for port in ports]
        return [json.dumps(items), json.dumps(items)[:-1],
                json.dumps({'list': items}), json.dumps(items[0]),
                json.dumps([*ports]), json.dumps(' '.join(ports)),
                '[' * 100000 + ports[0]]

    def test_ports_that_cannot_be_read_are_spared(self):
        port = str(uuid.uuid4())
        self.sandbox('ok', 'other', make_vif('a'))
        for text in self.unreadable(port):
            self.fake.state.sandboxes['s'] = pb.PodSandbox(
                id='s', labels={labels.POD: 'pod'},
                annotations={labels.VIFS: text})
            self.network._unclean = True
            self.network.reconcile()
            method, known = self.plugin.calls.pop()
            self.assertEqual(('reconcile', {'a'}), (method, known & {'a'}))
            self.assertIn(port, known)
            self.assertFalse(self.network._unclean)

    def test_release_of_ports_that_cannot_be_read(self):
        """The next reconciliation finds what they left."""
        for text in self.unreadable(str(uuid.uuid4())):
            self.network._unclean = False
            self.network.release('pod', [pb.PodSandbox(
                id='s', annotations={labels.VIFS: text})], [])
            self.assertTrue(self.network._unclean)

    def test_one_unreadable_port_costs_no_other(self):
        self.fake.state.sandboxes['s'] = sandbox = pb.PodSandbox(
            id='s', labels={labels.POD: 'pod'}, annotations={
                labels.VIFS: json.dumps([{'port_id': 'a'}, make_vif(
                    'b').to_dict()])})
        self.network.delete('pod', 's')
        self.network.release('pod', [sandbox], [])
        self.assertEqual([('unplug', 'b')] * 2, self.plugin.calls)

    def test_a_plugin_that_fails_does_not_stop_the_service(self):
        self.plugin.reconcile = lambda port_ids: {}['surprise']
        self.network.reconcile()
        self.assertTrue(self.network._unclean)

    def test_reconcile_while_containerd_is_down(self):
        self.fake.state.fail['ListPodSandbox'] = (
            grpc.StatusCode.UNAVAILABLE, 'injected')
        self.network.reconcile()
        self.assertTrue(self.network._unclean)

    def test_reconcile_spares_what_is_there_or_being_made(self):
        self.sandbox('s', 'pod', make_vif('a'))
        with self.network.expect('other', [make_vif('b')]):
            self.network.reconcile()
        self.assertEqual([('reconcile', {'a', 'b'})], self.plugin.calls)
        self.network.reconcile()  # nothing is left to do
        self.assertEqual(1, len(self.plugin.calls))
        self.plugin.fail_on = 'unplug'
        self.network.unplug([make_vif('c')])
        self.network.reconcile()
        self.assertEqual(2, len(self.plugin.calls))
