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

"""VIF plugins on a real switch, between namespaces of the tests."""

import json
import socket
import subprocess
import sys
import uuid

import fixtures
from oslo_config import cfg
from tests.functional import ovs
from tests.unit import base

from kata_openstack.compute.network.vif import base as vif_base
from kata_openstack.compute.network.vif import bridge as bridge_plugin
from kata_openstack.compute.network.vif import link
from kata_openstack.compute.network.vif import ovs as ovs_plugin
from kata_openstack.conf import opts
from kata_openstack import exception
from kata_openstack import objects

# Sends one MiB to the first client
_SERVER = ('import socket; s = socket.create_server(("", 7777)); '
           'print("ready", flush=True); '
           's.accept()[0].sendall(bytes(1 << 20))')
_CLIENT = ('import socket, sys; '
           's = socket.create_connection((sys.argv[1], 7777), 20); '
           'print(sum(len(b) for b in iter(lambda: s.recv(65536), b"")))')


class Namespace(fixtures.Fixture):

    def _setUp(self):
        self.name = f'kt-{uuid.uuid4().hex[:8]}'
        subprocess.run(['ip', 'netns', 'add', self.name], check=True)
        # a test may have removed it
        self.addCleanup(subprocess.run, ['ip', 'netns', 'del', self.name],
                        stderr=subprocess.DEVNULL)
        self.path = f'/run/netns/{self.name}'

    def command(self, *args):
        return ['ip', 'netns', 'exec', self.name, *args]

    def run(self, *args):
        return subprocess.run(self.command(*args), capture_output=True,
                              text=True, timeout=60)


def make_vif(number, **fields):
    return objects.Vif(**{
        'port_id': str(uuid.uuid4()), 'network_id': str(uuid.uuid4()),
        'mac_address': f'fa:16:3e:00:00:{number:02x}', 'vif_type': 'ovs',
        'mtu': 1442,
        'details': {'bridge_name': ovs.BRIDGE, 'datapath_type': 'netdev'},
        'fixed_ips': [objects.FixedIP(
            address=f'10.214.0.{number}', prefixlen=24, gateway='10.214.0.1',
            routes=[objects.Route(destination='198.51.100.0/24',
                                  gateway='10.214.0.254')])],
        **fields})


def make_conf():
    conf = cfg.ConfigOpts()
    opts.register_opts(conf)
    conf([], default_config_files=[], default_config_dirs=[])
    return conf


class OvsTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.switch = self.useFixture(ovs.OpenVSwitch())
        conf = make_conf()
        conf.set_override('ovsdb_connection', self.switch.connection,
                          'vif_ovs')
        self.plugin = ovs_plugin.OvsPlugin(conf)

    def plug(self, number, **fields):
        vif = make_vif(number, **fields)
        namespace = self.useFixture(Namespace())
        self.addCleanup(self.plugin.unplug, vif)
        self.plugin.plug(vif, namespace.path, 'eth0', pod_uuid='pod-1',
                         sandbox_id=f'sandbox-{number}')
        return vif, namespace

    def test_traffic(self):
        """Includes TCP, which hangs if checksum offloading is on."""
        _, one = self.plug(11)
        _, two = self.plug(12)
        ping = one.run('busybox', 'ping', '-c', '1', '-W', '20', '10.214.0.12')
        self.assertEqual(0, ping.returncode, ping.stdout)
        server = subprocess.Popen(two.command(sys.executable, '-c', _SERVER),
                                  stdout=subprocess.PIPE, text=True)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        self.assertEqual('ready\n', server.stdout.readline())
        got = one.run(sys.executable, '-c', _CLIENT, '10.214.0.12')
        self.assertEqual(f'{1 << 20}\n', got.stdout, got.stderr)
        server.stdout.close()

    def test_the_node_takes_no_packets(self):
        """Else a pod could reach the node's services past the switch."""
        vif, namespace = self.plug(11)
        device = vif_base.device_name(vif.port_id)
        subprocess.run(['ip', 'address', 'add', '192.0.2.1/32', 'dev', 'lo'],
                       check=True)
        self.addCleanup(subprocess.run, [
            'ip', 'address', 'del', '192.0.2.1/32', 'dev', 'lo'], check=True)
        mac = json.loads(subprocess.run(
            ['ip', '-json', 'link', 'show', device], check=True,
            capture_output=True).stdout)[0]['address']
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(('192.0.2.1', 0))
            server.settimeout(1)
            send = ('import socket; s = socket.socket(type=socket.SOCK_DGRAM);'
                    's.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1);'
                    f's.sendto(b"x", ("192.0.2.1", {server.getsockname()[1]}))')
            run = namespace.run
            run('ip', 'route', 'add', '192.0.2.1', 'dev', 'eth0')
            for address in ('', mac, 'ff:ff:ff:ff:ff:ff'):
                if address:
                    run('ip', 'neighbour', 'replace', '192.0.2.1', 'dev',
                        'eth0', 'lladdr', address)
                sent = run(sys.executable, '-c', send)
                self.assertEqual(('', 0), (sent.stderr, sent.returncode))
                self.assertRaises(TimeoutError, server.recv, 10)
            run('ip', 'neighbour', 'del', '192.0.2.1', 'dev', 'eth0')
            run(sys.executable, '-c', send)
            self.assertNotIn('lladdr', run(
                'ip', 'neighbour', 'show', '192.0.2.1').stdout)

    def test_what_is_plugged(self):
        vif, namespace = self.plug(11)
        device = vif_base.device_name(vif.port_id)
        self.assertIn(device, self.switch.vsctl('list-ports', ovs.BRIDGE))
        ids = self.switch.vsctl('get', 'Interface', device, 'external_ids')
        for pair in (f'iface-id="{vif.port_id}"', 'iface-status=active',
                     f'attached-mac="{vif.mac_address}"', 'vm-uuid=pod-1'):
            self.assertIn(pair, ids)
        self.assertEqual('sandbox-11', link.alias(device))
        addresses = namespace.run('ip', 'address', 'show', 'eth0').stdout
        self.assertIn('10.214.0.11/24', addresses)
        self.assertIn(vif.mac_address, addresses)
        self.assertIn('mtu 1442', addresses)
        routes = namespace.run('ip', 'route').stdout
        self.assertIn('default via 10.214.0.1 dev eth0', routes)
        self.assertIn('198.51.100.0/24 via 10.214.0.254', routes)
        self.assertIn('tx-checksumming: off',
                      namespace.run('ethtool', '-k', 'eth0').stdout)
        self.plugin.unplug(vif)
        self.plugin.unplug(vif)
        self.assertFalse(link.exists(device))
        self.assertEqual('', self.switch.vsctl('list-ports', ovs.BRIDGE))

    def test_plug_again_replaces(self):
        vif, first = self.plug(11)
        second = self.useFixture(Namespace())
        self.plugin.plug(vif, second.path, 'eth0', pod_uuid='pod-1',
                         sandbox_id='sandbox-2')
        self.assertIn('10.214.0.11',
                      second.run('ip', 'address', 'show', 'eth0').stdout)
        self.assertNotEqual(
            0, first.run('ip', 'link', 'show', 'eth0').returncode)
        self.assertEqual('sandbox-2',
                         link.alias(vif_base.device_name(vif.port_id)))

    def test_reconcile_removes_only_ours_of_no_pod(self):
        kept, _ = self.plug(11)
        gone, namespace = self.plug(12)
        self.switch.vsctl('add-port', ovs.BRIDGE, 'kt-other', '--', 'set',
                          'Interface', 'kt-other', 'type=internal')
        subprocess.run(['ip', 'netns', 'del', namespace.name], check=True)
        device = vif_base.device_name(gone.port_id)
        self.assertEqual(
            [device], self.plugin.reconcile(lambda: {kept.port_id}))
        self.assertEqual(
            sorted([vif_base.device_name(kept.port_id), 'kt-other']),
            sorted(self.switch.vsctl('list-ports', ovs.BRIDGE).split()))

    def test_no_bridge(self):
        error = self.assertRaises(
            exception.NetworkFailed, self.plug, 11,
            details={'bridge_name': 'no-such-br'})
        self.assertIn('no-such-br', str(error))
        self.assertEqual([], [
            name for _, name in socket.if_nameindex()
            if name.startswith(vif_base.DEVICE_PREFIX)])

    def test_no_switch(self):
        self.plugin.conf.set_override('ovsdb_connection', 'unix:/nowhere',
                                      'vif_ovs')
        vif, namespace = make_vif(11), self.useFixture(Namespace())
        self.assertRaises(
            exception.NetworkFailed, self.plugin.plug, vif, namespace.path,
            'eth0', pod_uuid='pod-1', sandbox_id='sandbox-1')
        self.assertFalse(link.exists(vif_base.device_name(vif.port_id)))

    def test_bad_address_from_neutron(self):
        """It is refused as text, before anything uses it."""
        error = self.assertRaises(
            exception.NetworkFailed, self.plug, 11,
            fixed_ips=[objects.FixedIP(
                address='10.0.0.1/24 dev lo\nlink set lo down',
                prefixlen=24)])
        self.assertIn('Correct the subnet', str(error))


class BridgeTest(base.TestCase):

    def test_ping(self):
        bridge = f'kt{uuid.uuid4().hex[:8]}'
        subprocess.run(['ip', 'link', 'add', bridge, 'type', 'bridge'],
                       check=True)
        self.addCleanup(subprocess.run, ['ip', 'link', 'del', bridge])
        subprocess.run(['ip', 'link', 'set', bridge, 'up'], check=True)
        plugin = bridge_plugin.BridgePlugin(make_conf())
        spaces = []
        for number in (11, 12):
            vif = make_vif(number, vif_type='bridge',
                           details={'bridge_name': bridge})
            namespace = self.useFixture(Namespace())
            plugin.plug(vif, namespace.path, 'eth0', pod_uuid='p',
                        sandbox_id='s')
            self.addCleanup(plugin.unplug, vif)
            spaces.append(namespace)
        ping = spaces[0].run('busybox', 'ping', '-c', '1', '-W', '20', '10.214.0.12')
        self.assertEqual(0, ping.returncode, ping.stdout)
