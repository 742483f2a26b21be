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

"""Stand-ins for the two services that the driver calls.

Both keep real state, so that tests can check for leftovers.
"""

import base64
from collections.abc import Callable
import copy
import hashlib
import itertools
import pathlib
from types import SimpleNamespace
from typing import Any

from glanceclient import exc as glance_exc
from neutronclient.common import exceptions as neutron_exc
from oslo_utils import uuidutils

from kata_openstack.compute import rpcapi
from kata_openstack import exception
from kata_openstack import objects

IMAGE = {'id': 'sha256:1', 'reference': 'registry.example/app:1',
         'size': 100, 'entrypoint': ['/entry'], 'command': ['serve'],
         'exposed_ports': ['80/tcp'], 'labels': {}}
INFO = {'runtimes': ['kata', 'kata-embedded'], 'handlers': [],
        'traits': {'CUSTOM_KATA': True, 'CUSTOM_KATA_EMBEDDED': True},
        'architecture': 'x86_64', 'os_type': 'linux', 'os': 'Debian',
        'kernel_version': '6.1', 'cpus': 4, 'mem_total': 4096,
        'mem_available': 2048, 'mem_free': 1024, 'mem_used': 2048,
        'running_containers': 1, 'stopped_containers': 2,
        'paused_containers': 0, 'total_containers': 3, 'labels': {}}


class ComputeAPI:
    """Stands in for kata_openstack.compute.rpcapi.ComputeAPI, for one node.

    ``fail[method] = error`` makes a method raise. ``handler`` is chosen for
    each pod; ``vanished`` are handlers that the node no longer has.
    """

    def __init__(self) -> None:
        self.pods: dict[str, objects.PodStatus] = {}
        self.requests: dict[str, objects.Pod] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.fail: dict[str, Exception] = {}
        self.labels: dict[str, dict[str, str]] = {}  # by image
        self.images: dict[str, dict[str, Any]] = {}  # other details
        # UUIDs of Glance: the projects that may use them
        self.imported: dict[str, set[str | None]] = {}
        self.folder: pathlib.Path | None = None  # of files to import
        self.handler = 'kata-embedded'
        self.changed: list[str] = []  # UUIDs of pods
        self.vanished: set[str] = set()
        self.node_info = copy.deepcopy(INFO)
        self.files: dict[str, bytes] = {}  # what was unpacked, by path
        self.archives: dict[str, bytes] = {}  # those in progress

    def _called(self, method: str, ctxt: dict[str, Any], host: str,
                *args: Any) -> None:
        assert set(ctxt) == {'project_id', 'user_id', 'request_id'}
        self.calls.append((method, host, *args))
        if method in self.fail:
            raise self.fail[method]

    def _pod(self, uuid: str) -> objects.PodStatus:
        if uuid not in self.pods:
            raise exception.NotFound(kind='Pod', id=uuid)
        return self.pods[uuid]

    def set_state(self, uuid: str, state: str, **kwargs: Any) -> None:
        for container in self.pods[uuid].containers:
            container.state = state
            for key, value in kwargs.items():
                setattr(container, key, value)

    def get_node_info(self, ctxt, host):
        self._called('get_node_info', ctxt, host)
        return copy.deepcopy(self.node_info)

    def pull_image(self, ctxt, host, reference, policy, auth):
        self._called('pull_image', ctxt, host, reference, policy, auth)
        self.pulled_for = ctxt['project_id']
        return IMAGE | {'reference': reference,
                        'labels': self.labels.get(reference, {}),
                        **self.images.get(reference, {})}

    def import_image(self, ctxt, host, image_uuid, file=None):
        self._called('import_image', ctxt, host, image_uuid, file)
        reference = f'glance.invalid/{image_uuid}:latest'
        if image_uuid not in self.imported:
            if file is None:
                raise exception.ImageNotFound(image=reference)
            self.data = (self.folder / file).read_bytes()
            self.imported[image_uuid] = set()
        self.imported[image_uuid].add(ctxt['project_id'])
        return IMAGE | {'reference': reference,
                        'labels': dict(self.labels.get(image_uuid, {}))}

    def inspect_image(self, ctxt, host, reference):
        self._called('inspect_image', ctxt, host, reference)
        return IMAGE | {'reference': reference}

    def delete_image(self, ctxt, host, image_id):
        self._called('delete_image', ctxt, host, image_id)

    def create_pod(self, ctxt, host, pod):
        self._called('create_pod', ctxt, host)
        request = objects.Pod.from_dict(pod)
        self._check_runtime(request)
        self.requests[request.uuid] = request
        self.pods[request.uuid] = objects.PodStatus(
            uuid=request.uuid, kind=request.kind,
            sandbox_id='5a' + request.uuid, ready=True,
            handler=self.handler, hostname=request.hostname or '',
            containers=[objects.ContainerStatus(
                uuid=c.uuid, name=c.name, container_id='c0' + c.uuid,
                state='created') for c in request.containers])
        return self._pod(request.uuid).to_dict()

    def _check_runtime(self, request):
        if request.runtime in self.vanished:
            raise exception.UnknownRuntime(runtime=request.runtime, why='',
                                           use='kata')

    def start_pod(self, ctxt, host, pod):
        try:
            request = objects.Pod.from_dict(pod)
            self._called('start_pod', ctxt, host, request)
            self._check_runtime(request)
        except (exception.CommandNotFound, exception.NetworkFailed):
            # the node removes a pod whose first start fails
            if all(c.state == 'created'
                   for c in self._pod(pod['uuid']).containers):
                del self.pods[pod['uuid']]
            raise
        self._pod(pod['uuid'])
        self.set_state(pod['uuid'], 'running', started_at=1000.0)
        return self._pod(pod['uuid']).to_dict()

    def stop_pod(self, ctxt, host, pod_uuid, timeout):
        self._called('stop_pod', ctxt, host, pod_uuid, timeout)
        self._pod(pod_uuid)
        self.set_state(pod_uuid, 'exited', exit_code=143, finished_at=1060.0)
        return self._pod(pod_uuid).to_dict()

    def restart_pod(self, ctxt, host, pod, timeout):
        self._called('restart_pod', ctxt, host, pod['uuid'], timeout)
        self._check_runtime(objects.Pod.from_dict(pod))
        self.set_state(pod['uuid'], 'running', started_at=1100.0)
        return self._pod(pod['uuid']).to_dict()

    def kill_container(self, ctxt, host, container_uuid, signal):
        self._called('kill_container', ctxt, host, container_uuid, signal)
        if signal == 'SIGKILL':
            self.set_state(container_uuid, 'exited', exit_code=137)

    def delete_pod(self, ctxt, host, pod_uuid, force):
        self._called('delete_pod', ctxt, host, pod_uuid, force)
        self.pods.pop(pod_uuid, None)

    def wait_for_changes(self, ctxt, host, epoch, since, timeout):
        self._called('wait_for_changes', ctxt, host, epoch, since)
        return {'epoch': 'e', 'since': len(self.changed),
                'pods': self.changed[since:] if epoch else None}

    def show_pod(self, ctxt, host, pod_uuid):
        self._called('show_pod', ctxt, host, pod_uuid)
        return self._pod(pod_uuid).to_dict()

    def list_pods(self, ctxt, host):
        self._called('list_pods', ctxt, host)
        return [pod.to_dict() for pod in self.pods.values()]

    def logs(self, ctxt, host, container_uuid, stdout, stderr, timestamps,
             tail, since):
        self._called('logs', ctxt, host, container_uuid, stdout, stderr,
                     timestamps, tail, since)
        return 'a line\n'

    def exec_sync(self, ctxt, host, container_uuid, command, timeout):
        self._called('exec_sync', ctxt, host, container_uuid, command,
                     timeout)
        return {'output': ' '.join(command), 'exit_code': 3}

    def pause_container(self, ctxt, host, container_uuid, paused):
        self._called('pause_container', ctxt, host, container_uuid, paused)
        self.set_state(container_uuid, 'paused' if paused else 'running',
                       started_at=1000.0)

    def resize_container(self, ctxt, host, container_uuid, cpus, memory_mib,
                         check_only=False):
        self._called('check_resize' if check_only else 'resize_container',
                     ctxt, host, container_uuid, cpus, memory_mib)

    def top(self, ctxt, host, container_uuid, arguments=''):
        self._called('top', ctxt, host, container_uuid, arguments)
        return {'Titles': ['PID'], 'Processes': [['1']]}

    def create_exec(self, ctxt, host, container_uuid, command, interactive):
        self._called('create_exec', ctxt, host, container_uuid, command,
                     interactive)
        return {'exec_id': 'e0' * 32, 'url': 'http://node1.test:6785'}

    def resize_exec(self, ctxt, host, exec_id, height, width):
        self._called('resize_exec', ctxt, host, exec_id, height, width)

    def attach_container(self, ctxt, host, container_uuid):
        self._called('attach_container', ctxt, host, container_uuid)
        return {'url': 'ws://node1.test:6785/attach?token=' + 'a0' * 32}

    def resize_terminal(self, ctxt, host, container_uuid, height, width):
        self._called('resize_terminal', ctxt, host, container_uuid, height,
                     width)

    def pack_archive(self, ctxt, host, container_uuid, path, limit_mib):
        self._called('pack_archive', ctxt, host, container_uuid, path,
                     limit_mib)
        self._pod(container_uuid)
        return {'archive_id': self._new_archive(self.files[path]),
                'size': len(self.files[path]), 'stat': {
                    'name': path.rpartition('/')[2], 'size': 5, 'mode': 0o644,
                    'mtime': '2026-01-02T03:04:05Z', 'linkTarget': ''}}

    def _new_archive(self, data=b''):
        ident = uuidutils.generate_uuid()
        self.archives[ident] = data
        return ident

    def read_archive(self, ctxt, host, container_uuid, archive_id, offset):
        self._called('read_archive', ctxt, host, container_uuid, offset)
        part = self.archives[archive_id][offset:][:rpcapi.ARCHIVE_PART]
        return base64.b64encode(part).decode()

    def open_archive(self, ctxt, host, container_uuid):
        self._called('open_archive', ctxt, host, container_uuid)
        self._pod(container_uuid)
        return self._new_archive()

    def write_archive(self, ctxt, host, container_uuid, archive_id, offset,
                      archive_data):
        self._called('write_archive', ctxt, host, container_uuid, offset)
        assert offset == len(self.archives[archive_id])
        self.archives[archive_id] += base64.b64decode(archive_data)

    def unpack_archive(self, ctxt, host, container_uuid, archive_id, path):
        self._called('unpack_archive', ctxt, host, container_uuid, path)
        self.files[path] = self.archives[archive_id]

    def close_archive(self, ctxt, host, container_uuid, archive_id):
        self._called('close_archive', ctxt, host, container_uuid)
        del self.archives[archive_id]

    def stats(self, ctxt, host, container_uuid):
        self._called('stats', ctxt, host, container_uuid)
        return {'cpu_percent': 1.5, 'memory_mib': 20.0,
                'memory_limit_mib': 512.0, 'memory_percent': 3.9,
                'block_read': 1, 'block_write': 2, 'net_rx': 3, 'net_tx': 4}


class Neutron:
    """Stands in for neutronclient; has one network unless a test adds more."""

    NETWORK = '6c6bcd3e-0000-4000-8000-000000000001'

    def __init__(self) -> None:
        self.ports: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, dict[str, Any]] = {}
        self.subnets = {self.NETWORK: [self.subnet()]}
        self.hidden: set[str] = set()  # networks that the user cannot see
        self.vif_type = 'ovs'
        self.activate: Callable[[], bool] = lambda: True
        self.dns_domain = ''
        self.dhcp: list[dict[str, Any]] = []  # ports of the DHCP agent
        self.binding: dict[str, Any] = {}  # fields of each bound port
        self.fail: dict[str, Exception] = {}
        self._addresses = itertools.count(10)

    @staticmethod
    def subnet(**kwargs: Any) -> dict[str, Any]:
        return {'id': uuidutils.generate_uuid(), 'cidr': '10.0.0.0/24',
                'gateway_ip': '10.0.0.1', 'host_routes': [],
                'dns_nameservers': ['10.0.0.2']} | kwargs

    def _called(self, method: str) -> None:
        if method in self.fail:
            raise self.fail[method]

    def create_port(self, body):
        port = {'id': uuidutils.generate_uuid(), 'security_groups': ['dflt'],
                'mac_address': 'fa:16:3e:00:00:01', 'name': '',
                'admin_state_up': True, 'status': 'DOWN',
                'binding:profile': {}, **body['port']}
        port['fixed_ips'] = [
            {'subnet_id': s['id'],
             'ip_address': s['cidr'].split('/')[0][:-1]
             + str(next(self._addresses))}
            for s in self.subnets[port['network_id']]]
        self._bind(port)
        self.ports[port['id']] = port
        self._called('create_port')  # the port exists despite a failure
        return {'port': copy.deepcopy(port)}

    def _bind(self, port):
        bound = port.get('binding:host_id')
        port['binding:vif_type'] = self.vif_type if bound else 'unbound'
        port['binding:vif_details'] = {'datapath_type': 'netdev',
                                       'bridge_name': 'br-int'}
        if bound:
            port.update(self.binding)

    def update_port(self, port, body):
        self._called('update_port')
        if port not in self.ports:
            raise neutron_exc.PortNotFoundClient()
        self.ports[port].update(body['port'])
        self._bind(self.ports[port])
        return {'port': copy.deepcopy(self.ports[port])}

    def delete_port(self, port):
        self._called('delete_port')
        if port not in self.ports:
            raise neutron_exc.PortNotFoundClient()
        del self.ports[port]

    def list_ports(self, fields=None, **filters):
        self._called('list_ports')
        if filters.get('device_owner') == 'network:dhcp':
            return {'ports': copy.deepcopy(self.dhcp)}
        if 'status' in (fields or ()) and self.activate():
            for port in self.ports.values():
                port['status'] = ('ACTIVE' if port['admin_state_up']
                                  else 'DOWN')
        return {'ports': [
            copy.deepcopy(p) for p in self.ports.values()
            if all(p.get(k) == v for k, v in filters.items())]}

    def show_port(self, port, fields=None):
        self._called('show_port')
        if port not in self.ports:
            raise neutron_exc.PortNotFoundClient()
        return {'port': copy.deepcopy(self.ports[port])}

    def list_networks(self, id):
        return {'networks': [{'id': network} for network in self.subnets
                             if network == id
                             and network not in self.hidden]}

    def show_network(self, network, fields=None):
        self._called('show_network')
        return {'network': {'mtu': 1442, 'dns_domain': self.dns_domain}}

    def list_subnets(self, network_id):
        self._called('list_subnets')
        return {'subnets': copy.deepcopy(self.subnets[network_id])}

    def create_security_group(self, body):
        group = {'id': uuidutils.generate_uuid(), 'rules': [],
                 **body['security_group']}
        self.groups[group['id']] = group
        return {'security_group': copy.deepcopy(group)}

    def create_security_group_rule(self, body):
        rule = body['security_group_rule']
        self.groups[rule['security_group_id']]['rules'].append(rule)

    def list_security_groups(self, fields=None, **filters):
        return {'security_groups': [
            copy.deepcopy(g) for g in self.groups.values()
            if all(g.get(k) == v for k, v in filters.items())]}

    def delete_security_group(self, group):
        if any(group in p['security_groups'] for p in self.ports.values()):
            raise neutron_exc.Conflict()
        del self.groups[group]


class Glance:
    """Stands in for glanceclient; the user sees all of its images.

    ``chunks``: how the data of an image comes; an exception in it is raised.
    """

    def __init__(self) -> None:
        self.all: dict[str, SimpleNamespace] = {}
        self.chunks: dict[str, list[bytes | Exception]] = {}
        self.fail: dict[str, Exception] = {}
        self.downloads = 0
        self.images = self

    def add(self, name: str = 'app', data: bytes = b'data' * 1000,
            ident: str | None = None, **values: Any) -> str:
        """:returns: its UUID"""
        ident = ident or uuidutils.generate_uuid()
        self.all[ident] = SimpleNamespace(**{
            'id': ident, 'name': name, 'container_format': 'docker',
            'status': 'active', 'size': len(data), 'tags': [],
            'checksum': hashlib.md5(data).hexdigest(),
            'os_hash_algo': 'sha512',
            'os_hash_value': hashlib.sha512(data).hexdigest(), **values})
        self.chunks[ident] = [data[:100], data[100:]]
        return ident

    def get(self, ident):
        if 'get' in self.fail:
            raise self.fail['get']
        if ident not in self.all:
            raise glance_exc.HTTPNotFound()
        return self.all[ident]

    def list(self, filters):
        if 'list' in self.fail:
            raise self.fail['list']
        return [image for image in self.all.values()
                if image.container_format == filters['container_format']]

    def data(self, ident):
        self.downloads += 1
        for chunk in self.chunks[ident]:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk
