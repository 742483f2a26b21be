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
import os
import stat
import subprocess
import sys
import uuid

import fixtures
import grpc
from tests.unit import base
from tests.unit import fake_containerd

from kata_openstack.compute import cni_server
from kata_openstack.compute import network
from kata_openstack.compute.pods import labels
from kata_openstack.compute.vif import base as vif_base
from kata_openstack.compute.vif import ovs
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
        self.network = network.Network(self.fake.conf, client)
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
        """containerd tells it in its own words, without class."""
        self.plugin.fail_on = 'b'

        def run():
            with self.network.expect('pod', [make_vif('a'), make_vif('b')]):
                self.assertRaises(exception.NetworkFailed, self.network.add,
                                  'pod', 's', '/netns')
                raise exception.RuntimeFailed(operation='o', why='cni')
        error = self.assertRaises(exception.NetworkFailed, run)
        self.assertIn('injected', str(error))
        self.assertEqual(('unplug', 'a'), self.plugin.calls[-1])

    def test_refused_before_anything_is_made(self):
        for vif, words in [
                (make_vif('a', fixed_ips=[]), 'Create a subnet'),
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
            'kata_openstack.compute.vif.link.alias',
            lambda device: aliases.get(device, '')))
        self.network.delete('pod', 'old')
        self.assertEqual([], self.plugin.calls)
        self.network.delete('pod', 'new')
        self.assertEqual([('unplug', 'lo-port')], self.plugin.calls)

    def test_delete_of_the_unknown(self):
        self.network.delete('pod', 'sandbox')

    def aliases(self, **aliases):
        """By port, whose interface it is."""
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.compute.vif.link.alias',
            lambda device: aliases.get(device.removeprefix('tap'), '')))

    def test_release_leaves_what_another_sandbox_has(self):
        self.aliases(a='s', b='other')
        self.network.release('pod', {'s'}, [
            make_vif('a'), make_vif('b'), make_vif('c')])
        self.assertEqual([('unplug', 'a'), ('unplug', 'c')],
                         self.plugin.calls)
        self.network._unclean = False
        self.network.release('pod', {'s'}, [make_vif('b')])
        self.assertTrue(self.network._unclean)  # looked for later

    def test_release_leaves_what_another_pod_waits_for(self):
        self.sandbox('s', 'pod', make_vif('a'))
        self.sandbox('t', 'stopped', make_vif('b'))
        with self.network.expect('made', [make_vif('c')]):
            self.network.release('pod', {'s'}, [
                make_vif('a'), make_vif('b'), make_vif('c')])
        self.assertEqual([('unplug', 'a')], self.plugin.calls)

    def test_release_while_containerd_is_down(self):
        """Nobody knows then whose the port is."""
        self.fake.state.fail['ListPodSandbox'] = (
            grpc.StatusCode.UNAVAILABLE, 'injected')
        self.network._unclean = False
        self.network.release('pod', {'s'}, [make_vif('a')])
        self.assertEqual([], self.plugin.calls)
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
        self.network.reconcile()  # nothing to do any more
        self.assertEqual(1, len(self.plugin.calls))
        self.plugin.fail_on = 'unplug'
        self.network.unplug([make_vif('c')])
        self.network.reconcile()
        self.assertEqual(2, len(self.plugin.calls))


class OvsReconcileTest(base.TestCase):

    def test_pod_that_is_made_while_ports_are_listed(self):
        """Its port is asked for after the list, not before."""
        known = set()
        plugin = ovs.OvsPlugin(None)

        def vsctl(what, *command):
            known.add('new')
            return ('tapnew\nkata-openstack-port=new\n\n'
                    'tapgone\nkata-openstack-port=gone\n')
        plugin._vsctl = vsctl
        removed = []
        plugin._remove = removed.append
        self.assertEqual(['tapgone'], plugin.reconcile(lambda: set(known)))
        self.assertEqual(['tapgone'], removed)


class CniTest(Case):
    """kata-cni as a program, against the server."""

    def setUp(self):
        super().setUp()
        self.path = self.fake.state.root / 'cni.sock'
        self.server = cni_server.CniServer(str(self.path), self.network)
        self.server.start()
        self.addCleanup(self.server.stop)
        self.pod = str(uuid.uuid4())

    def cni(self, command, netns='/netns', version='1.0.0', text=None):
        config = {'cniVersion': version, 'name': 'kata', 'type': 'kata-cni',
                  'socket': str(self.path)}
        done = subprocess.run(
            [sys.executable, '-c', 'import sys; from kata_openstack.cmd '
             'import cni; sys.exit(cni.main())'],
            input=text or json.dumps(config), capture_output=True, text=True,
            env={**os.environ, 'CNI_COMMAND': command,
                 'CNI_CONTAINERID': 'sandbox', 'CNI_NETNS': netns,
                 'CNI_IFNAME': 'eth0',
                 'CNI_ARGS': 'IgnoreUnknown=1;K8S_POD_NAMESPACE=n;'
                             f'K8S_POD_UID={self.pod}'})
        self.assertEqual('', done.stderr)
        return (done.returncode,
                json.loads(done.stdout) if done.stdout else None)

    def test_socket_is_roots(self):
        self.assertEqual(0o600, stat.S_IMODE(self.path.stat().st_mode))

    def test_add_and_del(self):
        with self.network.expect(self.pod, [make_vif('a')]):
            code, result = self.cni('ADD')
            self.assertEqual(0, code)
            self.assertEqual('1.0.0', result['cniVersion'])
            self.assertEqual('192.0.2.5/24', result['ips'][0]['address'])
            self.assertEqual((0, None), self.cni('DEL'))
        self.assertEqual(['plug', 'unplug'],
                         [c[0] for c in self.plugin.calls])

    def test_old_versions_want_the_family(self):
        with self.network.expect(self.pod, [make_vif('a')]):
            _, result = self.cni('ADD', version='0.4.0')
        self.assertEqual('4', result['ips'][0]['version'])

    def test_version(self):
        code, result = self.cni('VERSION')
        self.assertEqual(0, code)
        self.assertIn('1.0.0', result['supportedVersions'])

    def test_errors(self):
        code, result = self.cni('ADD')
        self.assertEqual((1, 100), (code, result['code']))
        self.assertIn(self.pod, result['msg'])
        for expected, arguments in [
                (1, {'command': 'ADD', 'version': '9.0.0'}),
                (4, {'command': 'NONE'}),
                (6, {'command': 'ADD', 'text': '{'}),
                (6, {'command': 'ADD', 'text': '[]'})]:
            code, result = self.cni(**arguments)
            self.assertEqual((1, expected), (code, result['code']))

    def test_kata_compute_is_down(self):
        self.server.stop()
        self.assertEqual(11, self.cni('ADD')[1]['code'])
        self.assertEqual((0, None), self.cni('DEL', netns='/no/such/netns'))
        self.assertEqual((0, None), self.cni('DEL', netns=''))
        here = self.useFixture(fixtures.TempDir()).path
        self.assertEqual(11, self.cni('DEL', netns=here)[1]['code'])

    def test_imports_nothing_heavy(self):
        """It delays the start of every pod."""
        done = subprocess.run(
            [sys.executable, '-c', 'import sys; before = set(sys.modules); '
             'import kata_openstack.cmd.cni; '
             'print(*(set(sys.modules) - before))'],
            capture_output=True, text=True, check=True)
        roots = {name.partition('.')[0] for name in done.stdout.split()}
        self.assertEqual(set(), roots - set(sys.stdlib_module_names)
                         - {'kata_openstack'})
