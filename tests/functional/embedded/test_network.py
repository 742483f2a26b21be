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

"""The pod's interface, in its namespace, becomes the guest's."""

import hashlib
import os
import socket
import subprocess
import threading

from tests.functional.embedded import base


class TestNetwork(base.EmbeddedTestCase):
    def test_the_guest_has_the_address_mac_and_mtu_of_the_pod(self):
        pod = self.pod()
        container = pod.run()
        namespace = pod.network_namespace
        outside = subprocess.run(
            ['nsenter', f'--net={namespace}', 'ip', '-o', 'link', 'show',
             'eth0'], capture_output=True, text=True, check=True).stdout
        mac = outside.split('link/ether ')[1].split()[0]
        inside = pod.execute(container, 'ip', 'addr', 'show', 'eth0')
        self.assertIn(f'link/ether {mac}', inside)
        self.assertIn(f'inet {pod.address}/', inside)
        self.assertIn(f'mtu {outside.split("mtu ")[1].split()[0]}', inside)
        self.assertIn('default via', pod.execute(container, 'ip', 'route'))

    def test_tcp_without_transmit_offload(self):
        """A userspace switch does not fill in checksums."""
        pod = self.pod()
        container = pod.run()
        subprocess.run(
            ['nsenter', f'--net={pod.network_namespace}', 'ethtool', '-K',
             'eth0', 'tx', 'off'], check=True, capture_output=True)
        data = os.urandom(2 * 1024 * 1024)
        digest = hashlib.md5(data).hexdigest()
        gateway = pod.execute(container, 'sh', '-c',
                              'ip route | grep default').split()[2]
        with socket.create_server((gateway, 0)) as server:
            sender = threading.Thread(target=self.serve, args=(server, data))
            sender.start()
            port = server.getsockname()[1]
            got = pod.execute(container, 'sh', '-c',
                              f'nc {gateway} {port} </dev/null | md5sum')
            sender.join()
        self.assertEqual(digest, got.split()[0])

    def test_a_server_in_the_guest(self):
        pod = self.pod()
        container = pod.run(
            'sh', '-c', 'echo ready; nc -l -p 80 | md5sum')
        self.wait_for(lambda: pod.log(container), 'its first words')
        data = os.urandom(1024 * 1024)

        def connect():
            try:
                return socket.create_connection((pod.address, 80))
            except ConnectionRefusedError:
                return None
        connections = []
        self.wait_for(lambda: connections.append(connect())
                      or connections[-1], 'the server')
        with connections[-1] as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            pod.wait(container)
        self.assertIn(hashlib.md5(data).hexdigest(),
                      pod.log(container)[-1][1])

    def serve(self, server, data):
        with server.accept()[0] as connection:
            connection.sendall(data)
